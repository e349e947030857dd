// SPDX-License-Identifier: GPL-2.0-only
#include "placement.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <iterator>
#include <map>
#include <set>
#include <tuple>

#include "duration.hpp"

namespace spare {
namespace {

using Sites = std::vector<Site>;

const Site* site_of(const Sites& sites, unsigned cpu) {
  const auto found = std::find_if(sites.begin(), sites.end(), [&](const Site& site) { return site.cpu.id == cpu; });
  return found == sites.end() ? nullptr : &*found;
}

// Room on a whole core: between CPUs that are alike otherwise, the one whose siblings are idle computes faster.
std::map<unsigned, std::uint64_t> room_of_cores(const Sites& sites) {
  std::map<unsigned, std::uint64_t> room;
  for (const Site& site : sites) {
    room[site.cpu.core] += site.room_ppm;
  }
  return room;
}

// One CPU after the other, each the best that is left. (Spares first, then new cores, then room: each is a matroid's rank, so that
// the greedy choice is the best one; test_placement compares it with every subset.)
Cpus greedy(const Sites& sites, const PlacementRequest& request) {
  const auto core_room = room_of_cores(sites);
  Cpus chosen;
  std::set<unsigned> cores;
  const auto take = [&](const Site& site) {
    chosen.insert(std::upper_bound(chosen.begin(), chosen.end(), site.cpu.id), site.cpu.id);
    cores.insert(site.cpu.core);
  };
  for (const unsigned cpu : request.keep) {
    if (const Site* site = site_of(sites, cpu)) {
      take(*site);
    }
  }
  const auto rank = [&](const Site& site) {
    return std::tuple(site.has_spares, !cores.contains(site.cpu.core), site.room_ppm, core_room.at(site.cpu.core), ~site.cpu.id);
  };
  while (chosen.size() < request.servers) {
    const Site* best = nullptr;
    for (const Site& site : sites) {
      if (site.room_ppm >= request.ask_ppm && !contains(chosen, site.cpu.id) && (best == nullptr || rank(site) > rank(*best))) {
        best = &site;
      }
    }
    if (best == nullptr) {
      break;
    }
    take(*best);
  }
  return chosen;
}

}  // namespace

PlacementValue value_of(const Sites& sites, const Cpus& chosen) {
  PlacementValue value;
  std::set<unsigned> cores, nodes;
  for (const unsigned cpu : chosen) {
    if (const Site* site = site_of(sites, cpu)) {
      value.servers++;
      value.with_spares += site->has_spares;
      value.room_ppm += site->room_ppm;
      cores.insert(site->cpu.core);
      nodes.insert(site->cpu.node);
    }
  }
  value.cores = cores.size();
  value.one_node = nodes.size() <= 1;
  return value;
}

Cpus place(const Sites& sites, const PlacementRequest& request) {
  Cpus best = greedy(sites, request);
  PlacementValue best_value = value_of(sites, best);
  std::map<unsigned, Sites> nodes;
  for (const Site& site : sites) {
    nodes[site.cpu.node].push_back(site);
  }
  for (const auto& [node, local] : nodes) {
    const bool keeps_all = std::all_of(request.keep.begin(), request.keep.end(), [&, &here = local](unsigned cpu) {
      return site_of(here, cpu) != nullptr || site_of(sites, cpu) == nullptr;
    });
    if (!keeps_all) {
      continue;
    }
    Cpus chosen = greedy(local, request);
    const PlacementValue value = value_of(sites, chosen);
    if (value > best_value) {
      best = std::move(chosen);
      best_value = value;
    }
  }
  return best;
}

Cpus keep_for(const Sites& sites, const PlacementRequest& request, std::vector<Cpus> threads) {
  std::stable_sort(threads.begin(), threads.end(), [](const Cpus& a, const Cpus& b) { return a.size() < b.size(); });
  Cpus kept;
  const auto keep = [&](unsigned cpu) {
    if (!contains(kept, cpu) && site_of(sites, cpu) != nullptr) {
      kept.insert(std::upper_bound(kept.begin(), kept.end(), cpu), cpu);
    }
  };
  for (const Cpus& allowed : threads) {
    if (!intersection(kept, allowed).empty()) {
      continue;
    }
    const Cpus has = intersection(request.keep, allowed);
    Sites within;
    std::copy_if(sites.begin(), sites.end(), std::back_inserter(within), [&](const Site& site) { return contains(allowed, site.cpu.id); });
    for (const unsigned cpu : has.empty() ? place(within, {request.ask_ppm, 1, {}}) : Cpus{has.front()}) {
      keep(cpu);
    }
  }
  for (const unsigned cpu : request.keep) {
    if (kept.size() < request.servers) {
      keep(cpu);
    }
  }
  return kept;
}

std::string explain(const Sites& sites, const PlacementRequest& request, const Cpus& chosen, const std::string& pool) {
  const PlacementValue value = value_of(sites, chosen);
  std::vector<std::string> parts;
  std::vector<std::string> room;
  std::set<unsigned> nodes;
  for (const unsigned cpu : chosen) {
    if (const Site* site = site_of(sites, cpu)) {
      room.push_back(fmt::format("CPU {}: {}", cpu, format_ppm(site->room_ppm)));
      nodes.insert(site->cpu.node);
    }
  }
  parts.push_back(fmt::format("{} of {} servers", value.servers, request.servers));
  parts.push_back(fmt::format("most room left ({}) for {} on each", fmt::join(room, ", "), format_ppm(request.ask_ppm)));
  parts.push_back(value.one_node ? fmt::format("node {}", fmt::join(nodes, ""))
                                 : fmt::format("no single node had room for all: nodes {}", fmt::join(nodes, ", ")));
  if (value.servers > 1) {
    parts.push_back(value.cores == value.servers ? "distinct cores" : fmt::format("{} cores", value.cores));
  }
  if (!pool.empty()) {
    parts.push_back(fmt::format("spares of {} on {} of them", pool, value.with_spares));
  }
  return fmt::format("{}", fmt::join(parts, "; "));
}

}  // namespace spare
