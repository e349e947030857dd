// SPDX-License-Identifier: GPL-2.0-only
//
// The kernel's files as samples have them. Pure.
#pragma once

#include <string_view>
#include <vector>

#include "top/sample.hpp"

namespace sparectl::top {

// spare.stat. What is not known is passed over.
void parse_spare_stat(std::string_view text, VmSample& vm);
// cpu.stat and cpu.max, of a cgroup without a reservation.
void parse_cpu_stat(std::string_view text, VmSample& vm);
void parse_cpu_max(std::string_view text, VmSample& vm);
// /proc/stat: the CPUs that are online, by number.
std::vector<CpuSample> parse_proc_stat(std::string_view text);
// spare.host.
void parse_spare_host(std::string_view text, std::vector<CpuSample>& cpus);

// A thread's schedstat.
struct Schedstat {
  std::uint64_t run_ns = 0, wait_ns = 0, runs = 0;
};
std::optional<Schedstat> parse_schedstat(std::string_view text);

}  // namespace sparectl::top
