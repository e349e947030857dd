// SPDX-License-Identifier: GPL-2.0-only
//
// Samples of this host. Reads only: cgroup files, /proc, and the bill where there is a meter. Nothing is attached and nothing changed.
#pragma once

#include <chrono>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "cgroup.hpp"
#include "meter/meter.hpp"
#include "meter/scan.hpp"
#include "paths.hpp"
#include "top/kept_file.hpp"
#include "top/parse.hpp"
#include "top/sample.hpp"
#include "top/screen.hpp"
#include "util/result.hpp"

namespace sparectl::top {

class Reader {
 public:
  static spare::Result<Reader> open(const spare::Roots& roots);

  // Now. VMs that have come are in it a second or some later: looking for them takes long where there are many cgroups.
  Sample read();
  // Threads of a VM of the last sample; shares since the last call for the same one.
  std::vector<ThreadRow> threads_of(const std::string& path);

 private:
  using Clock = std::chrono::steady_clock;

  struct Thread {
    KeptFile schedstat;
    Schedstat last;
    bool seen = false;
  };
  // A VM, with what it takes to read it again.
  struct Known {
    VmSample vm;  // what changes seldom; and the sums of its threads, whichever have ended
    KeptFile stat, cpu_max;
    std::map<int, Thread> threads;
    bool guest_named = false, found = false;
  };

  Reader(spare::Roots roots, spare::CgroupTree tree);
  void look_for_vms();
  void look_for_threads();
  void scan_for_guests();
  void read_bill(Sample& sample);
  Known& know(const std::string& path, std::uint64_t id);
  void add_reserved(const std::string& path);
  void add_guest(int process);
  void read_settings(const spare::Cgroup& cgroup, VmSample& vm) const;
  void find_threads(Known& known, const std::vector<int>& ids);
  [[nodiscard]] std::vector<int> thread_ids(const std::string& path, std::vector<int>* processes) const;
  [[nodiscard]] bool is_of_another(std::string below, const std::string& path) const;
  void name_guest(Known& known, const std::vector<int>& processes) const;
  void read_vm(Known& known);
  void read_threads(Known& known);
  void say_state(Sample& sample) const;
  void describe(ThreadRow& row) const;

  spare::Roots roots_;
  spare::CgroupTree tree_;
  KeptFile proc_stat_, host_;
  std::string boot_, buffer_;
  std::map<std::string, Known> known_;  // by path as it is
  Clock::time_point vms_due_{}, guests_due_{};
  bool looked_ = false;
  std::optional<spare::GuestScan> scan_;  // that is under way
  std::vector<pid_t> guests_, scanned_;   // that the last one found, and this one so far
  std::unique_ptr<spare::Meter> meter_;   // none: nobody keeps one
  std::string detail_of_;               // of whose threads the last look was
  Clock::time_point detail_at_{};
  std::map<int, Schedstat> detail_;
};

}  // namespace sparectl::top
