// SPDX-License-Identifier: GPL-2.0-only
#include "reading.hpp"

#include <algorithm>
#include <ctime>
#include <utility>

#include "host_cpus.hpp"
#include "kinds.hpp"

namespace spare {
namespace {

std::uint64_t clock_ns(clockid_t clock) {
  timespec now{};
  ::clock_gettime(clock, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * 1000000000U + static_cast<std::uint64_t>(now.tv_nsec);
}

}  // namespace

Reading take_reading(const Roots& roots, const Counters& counters, std::vector<BilledVm> vms) {
  Reading reading;
  std::vector<std::uint32_t> slots = {0, SPARE_METER_GONE};
  for (BilledVm& vm : vms) {
    slots.push_back(vm.slot);
    reading.vms.push_back({std::move(vm), {}});
  }
  const auto known = online_cpus(roots);
  const Cpus online = known ? *known : Cpus();
  reading.time_ns = static_cast<std::int64_t>(clock_ns(CLOCK_REALTIME));
  reading.monotonic_ns = clock_ns(CLOCK_MONOTONIC);
  for (unsigned cpu = 0; cpu < counters.cpus(); cpu++) {
    const CpuReading of = counters.read(cpu, slots);
    if (of.elapsed_ns == 0) {
      continue;
    }
    reading.cpus.push_back({cpu, std::find(online.begin(), online.end(), cpu) != online.end(), of.steady, of.elapsed_ns, of.rows[0], of.rows[1]});
    for (size_t i = 0; i < reading.vms.size(); i++) {
      reading.vms[i].of_cpu.push_back(of.rows[i + 2]);
    }
  }
  return reading;
}

}  // namespace spare
