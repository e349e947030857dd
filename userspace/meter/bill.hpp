// SPDX-License-Identifier: GPL-2.0-only
//
// What was billed between two readings.
#pragma once

#include <cstdint>
#include <vector>

#include "meter.hpp"

namespace spare {

struct CpuBill {
  unsigned cpu = 0;
  bool steady = false;
  std::uint64_t elapsed_ns = 0;
  std::uint64_t vms_ns = 0;  // of all VMs, those that came and went between the two readings included
  BillRow host;
  [[nodiscard]] std::int64_t error_ns() const;  // what is billed twice, or to nobody (negative)
};

struct VmBill {
  BilledVm vm;
  BillRow sum;                           // over all CPUs
  std::vector<std::uint64_t> of_cpu_ns;  // as Bill::cpus
};

struct Bill {
  std::uint64_t epoch = 0;        // as Reading's
  std::int64_t time_ns = 0;       // CLOCK_REALTIME
  std::uint64_t interval_ns = 0;  // CLOCK_MONOTONIC
  std::vector<CpuBill> cpus;      // those that are online
  std::vector<VmBill> vms;        // as Reading::vms
  BillRow gone;                   // of VMs that were gone before `now`, since they were last in a reading: over all CPUs
};

// Of two epochs, or with nothing before: since counting began.
Bill between(const Reading& before, const Reading& now);

std::uint64_t total(const BillRow& row);
// What of a VM's is for its packets: softirqs and vhost. (Where its emulator carries them, that part is the emulator's, and not told apart.)
std::uint64_t network_ns(const BillRow& vm);
void add(BillRow& to, const BillRow& what);
// What a row has had since an earlier look at it.
BillRow since(const BillRow& before, const BillRow& now);

}  // namespace spare
