// SPDX-License-Identifier: GPL-2.0-only
#include "fit.hpp"

#include <algorithm>
#include <numeric>

#include "placement.hpp"

namespace spare::sim {

bool Fit::all() const {
  return std::none_of(cpus.begin(), cpus.end(), [](const auto& list) { return list.empty(); });
}

std::vector<HostCpu> plain_cpus(unsigned n) {
  std::vector<HostCpu> cpus;
  for (unsigned id = 0; id < n; id++) {
    cpus.push_back({id, id, 0});
  }
  return cpus;
}

Fit fit(const std::vector<FitVm>& vms, const FitHost& host) {
  Fit result;
  result.cpus.resize(vms.size());
  result.used_ppm.assign(host.cpus.size(), host.taken_ppm);
  result.servers.assign(host.cpus.size(), 0);
  std::vector<Site> sites;
  for (const HostCpu& cpu : host.cpus) {
    sites.push_back({cpu, host.limit_ppm - std::min(host.limit_ppm, host.taken_ppm), host.taken_ppm != 0});
  }
  std::vector<std::size_t> order(vms.size());
  std::iota(order.begin(), order.end(), 0U);
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return utilization_ppm(vms[a].reservation) > utilization_ppm(vms[b].reservation);
  });
  const FitVm* refused = nullptr;  // the last one that found no place: its like need not be tried
  for (const std::size_t i : order) {
    const std::uint32_t ask = utilization_ppm(vms[i].reservation);
    if (refused != nullptr && refused->vcpus == vms[i].vcpus && utilization_ppm(refused->reservation) == ask) {
      continue;
    }
    Cpus chosen = place(sites, {ask, vms[i].vcpus, {}});
    if (chosen.size() < vms[i].vcpus) {
      refused = &vms[i];
      continue;
    }
    for (std::size_t at = 0; at < sites.size(); at++) {
      if (contains(chosen, sites[at].cpu.id)) {
        sites[at].room_ppm -= ask;
        result.used_ppm[at] += ask;
        result.servers[at]++;
      }
    }
    result.cpus[i] = std::move(chosen);
  }
  return result;
}

}  // namespace spare::sim
