// SPDX-License-Identifier: GPL-2.0-only
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "attach.hpp"
#include "counters.hpp"
#include "vms.hpp"

namespace spare {

// What was billed between two looks.
struct CpuBill {
  unsigned cpu = 0;
  bool steady = false;
  std::uint64_t elapsed_ns = 0;
  std::uint64_t vms_ns = 0;
  BillRow host;
  [[nodiscard]] std::int64_t error_ns() const;  // what is billed twice, or to nobody (negative)
};

struct VmBill {
  const MeteredVm* vm = nullptr;
  BillRow sum;                           // over all CPUs
  std::vector<std::uint64_t> of_cpu_ns;  // as CpuBill stands
};

struct Bill {
  std::int64_t time_ns = 0;       // CLOCK_REALTIME
  std::uint64_t interval_ns = 0;  // CLOCK_MONOTONIC
  std::vector<CpuBill> cpus;
  std::vector<VmBill> vms;
};

// A table for a terminal; per cent are of one CPU.
std::string as_table(const Bill& bill);
// One line; spared(8) has its fields.
std::string as_json(const Bill& bill, const std::vector<MissingPart>& missing);

std::uint64_t total(const BillRow& row);

}  // namespace spare
