// SPDX-License-Identifier: GPL-2.0-only
//
// Where a cgroup with a reservation gets its servers: worst fit by utilization (Coffman, Garey, Johnson: among the CPUs with
// room, the one with the most left), which keeps room for wake-ups and boosts on every CPU. Pure: no file is read here.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "cpu_list.hpp"
#include "host_cpus.hpp"

namespace spare {

// A CPU as placement sees it.
struct Site {
  HostCpu cpu;
  std::uint32_t room_ppm = 0;  // left under the admission limit, without what this cgroup has itself
  bool has_spares = false;     // the cgroup's pool has spares here
};

struct PlacementRequest {
  std::uint32_t ask_ppm = 0;  // on each CPU
  unsigned servers = 1;
  Cpus keep;  // CPUs it has already: they stay
};

// Chooses up to `servers` CPUs with room; fewer when no more have it. In this order: as many as fit; all on one NUMA node, if one
// has them all; CPUs on which the pool has spares; distinct cores; the most room left; the lowest numbers.
Cpus place(const std::vector<Site>& sites, const PlacementRequest& request);

// What the cgroup shall keep, or get first, so that each thread has a server where it may run. threads: for each one the CPUs that it may run
// on. Those with the fewest go first; each takes a CPU that the cgroup has (request.keep), else the best one with room. The others of
// request.keep follow, up to request.servers.
Cpus keep_for(const std::vector<Site>& sites, const PlacementRequest& request, std::vector<Cpus> threads);

// The choice in words, for people.
std::string explain(const std::vector<Site>& sites, const PlacementRequest& request, const Cpus& chosen, const std::string& pool);

// The value that place() maximizes, lexicographically: servers, on one node, with spares, distinct cores, sum of room.
struct PlacementValue {
  size_t servers = 0;
  bool one_node = false;
  size_t with_spares = 0;
  size_t cores = 0;
  std::uint64_t room_ppm = 0;
  auto operator<=>(const PlacementValue&) const = default;
};
PlacementValue value_of(const std::vector<Site>& sites, const Cpus& chosen);

}  // namespace spare
