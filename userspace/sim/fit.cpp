// SPDX-License-Identifier: GPL-2.0-only
#include "fit.hpp"

#include <sched_spare/parse.h>

#include <algorithm>
#include <numeric>
#include <set>

namespace spare::sim {

bool Fit::all() const {
  return std::none_of(cpus.begin(), cpus.end(), [](const auto& list) { return list.empty(); });
}

std::uint32_t utilisation_ppm(const Reservation& reservation) {
  return spare_util_ppm(static_cast<__u32>(reservation.runtime_us), static_cast<__u32>(reservation.period_us));
}

Fit fit(const std::vector<FitVm>& vms, const FitHost& host) {
  Fit result;
  result.cpus.resize(vms.size());
  result.used_ppm.assign(host.cpus, host.taken_ppm);
  result.servers.assign(host.cpus, 0);
  std::vector<std::size_t> order(vms.size());
  std::iota(order.begin(), order.end(), 0U);
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return utilisation_ppm(vms[a].reservation) > utilisation_ppm(vms[b].reservation);
  });
  /* CPUs by what is used of them, the emptiest first. */
  std::set<std::pair<std::uint32_t, unsigned>> by_use;
  for (unsigned cpu = 0; cpu < host.cpus; cpu++) {
    by_use.emplace(host.taken_ppm, cpu);
  }
  for (const std::size_t i : order) {
    const std::uint32_t ask = utilisation_ppm(vms[i].reservation);
    std::vector<unsigned> chosen;
    for (auto at = by_use.begin(); at != by_use.end() && chosen.size() < vms[i].vcpus && at->first + ask <= host.limit_ppm; ++at) {
      chosen.push_back(at->second);
    }
    if (chosen.size() < vms[i].vcpus) {
      continue;
    }
    for (const unsigned cpu : chosen) {
      by_use.erase({result.used_ppm[cpu], cpu});
      result.used_ppm[cpu] += ask;
      result.servers[cpu]++;
      by_use.emplace(result.used_ppm[cpu], cpu);
    }
    std::sort(chosen.begin(), chosen.end());
    result.cpus[i] = std::move(chosen);
  }
  return result;
}

}  // namespace spare::sim
