// SPDX-License-Identifier: GPL-2.0-only
//
// The meter: who has had each CPU since counting began. Two ways to have one:
//
//   attach_meter()  loads and attaches the programs; they go with the object, or stay pinned (spared, [meter] in spared.toml)
//   open_meter()    reads what spared keeps pinned; attaches nothing, and is done in microseconds
//
// All amounts are counters: they only grow, from 0 at the moment when the VM was found, and two readings of one epoch make a bill
// (between(), bill.hpp). Whoever shows rates keeps the reading before.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "counters.hpp"
#include "missing.hpp"
#include "paths.hpp"
#include "util/result.hpp"
#include "util/taps.hpp"

namespace spare {

// A process that runs guests.
struct VmProcess {
  pid_t pid = 0;
  std::uint64_t start = 0;  // clock ticks after boot, as /proc/PID/stat has it: another process of this number is another one
  auto operator<=>(const VmProcess&) const = default;
};

// A VM, as the bill has it.
struct BilledVm {
  std::uint64_t id = 0;       // no other VM of this epoch has or had it; slots are given again
  std::uint32_t slot = 0;     // of the meter's maps
  std::string name;           // its guest's (-name, --id), else its cgroup's, else its process's number; fit for a terminal. Two VMs may have the same.
  std::string cgroup;         // below the mount point: "/machine.slice/…"
  std::uint64_t cgroup_id = 0;  // all that runs in the cgroup of this id is the VM's; 0: its processes alone are
  bool gone = false;          // it has ended: its counters stand still, and it is in some more readings, for a second or so
  std::vector<VmProcess> processes;
  std::vector<Tap> taps;
  [[nodiscard]] bool whole_cgroup() const { return cgroup_id != 0; }
};

struct VmReading {
  BilledVm vm;
  std::vector<BillRow> of_cpu;  // as Reading::cpus; kinds are enum spare_kind (kinds.hpp)
};

struct CpuCounters {
  unsigned cpu = 0;
  bool online = true;
  bool steady = false;           // nothing changed while it was read: host, gone and all VMs' rows add up to elapsed_ns exactly
  std::uint64_t elapsed_ns = 0;  // since this CPU was first seen
  BillRow host;                  // kinds are enum spare_host_kind
  BillRow gone;                  // of all VMs that are in no reading any more; kinds are enum spare_kind
};

struct Reading {
  std::int64_t time_ns = 0;        // CLOCK_REALTIME, to show; it may be stepped
  std::uint64_t monotonic_ns = 0;  // CLOCK_MONOTONIC, to reckon with
  std::uint64_t epoch = 0;         // another number: all counters have begun anew, and all VMs' ids are others
  std::vector<CpuCounters> cpus;   // every one that has been seen, in order
  std::vector<VmReading> vms;      // by slot
  std::vector<MissingPart> missing;  // what this kernel does not let us see
};

class Meter {
 public:
  virtual ~Meter() = default;

  // ENOENT: it is pinned no longer. Takes about 50 ns for each VM and CPU, and disturbs nobody.
  virtual Result<Reading> read() = 0;

  // Readable when turn() has something to do: VMs have come or gone. -1: never (it is spared that looks after it).
  [[nodiscard]] virtual int fd() const { return -1; }
  // Does some of it, for a few milliseconds at most.
  virtual void turn() {}
  // What an operator should know and nobody was told yet: what this kernel does not let us see, limits that are reached.
  [[nodiscard]] virtual std::vector<std::string> news() { return {}; }
};

struct MeterStart {
  std::vector<std::string> vms;  // cgroups that are VMs whatever runs in them
  bool pinned = false;           // keep it in the kernel, and adopt what a former run of this build has left there
};

// An error: nothing at all can be billed here, or a cgroup of `vms` cannot be one (the text begins with its name).
Result<std::unique_ptr<Meter>> attach_meter(const Roots& roots, const MeterStart& start);

// ENOENT: none is pinned. EPROTO: another build's is.
Result<std::unique_ptr<Meter>> open_meter(const Roots& roots);

// The pinned one, else one of one's own.
Result<std::unique_ptr<Meter>> any_meter(const Roots& roots);

// Takes away what is pinned. Whether something was.
Result<bool> unpin_meter(const Roots& roots);

}  // namespace spare
