// SPDX-License-Identifier: GPL-2.0-only
//
// Writes spare.cpus of cgroups that have a reservation and no list: lib/placement.cpp chooses. A list that somebody else has
// written is never touched: the module refuses "auto LIST" there, also when it came between our look and our write.
#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>

#include "manager.hpp"
#include "membership.hpp"
#include "placement.hpp"
#include "vcpus.hpp"

namespace spare {
namespace {

// The pool that a cgroup uses, or will.
std::string pool_for(const Pass& pass, const Claim& claim) {
  if (claim.use != "none") {
    return claim.use.substr(0, claim.use.find(' '));
  }
  const PoolConfig* pool = pool_of(pass.config, claim.path);
  return pool != nullptr ? pool->path() : std::string();
}

bool has_spares(const Pass& pass, const std::string& pool, unsigned cpu) {
  return !pool.empty() && std::any_of(pass.ledger.claims().begin(), pass.ledger.claims().end(), [&](const Claim& claim) {
    const bool of_pool = claim.path == pool || claim.path.substr(0, claim.path.rfind('/')) == pool;
    return claim.provider && of_pool && contains(claim.cpus, cpu);
  });
}

std::vector<Site> sites_for(const Pass& pass, const Cgroup& cgroup, const Claim& claim) {
  const std::string pool = pool_for(pass, claim);
  const auto text = cgroup.has("cpuset.cpus.effective") ? cgroup.read("cpuset.cpus.effective") : Result<std::string>(Error{});
  const auto cpuset = text ? parse_cpu_list(*text) : Result<Cpus>(Error{});
  std::vector<Site> sites;
  for (const HostCpu& cpu : pass.host) {
    const bool allowed = !cpuset || cpuset->empty() || contains(*cpuset, cpu.id);
    if (allowed && (contains(claim.cpus, cpu.id) || !pass.refusals.recent(claim.path, cpu.id))) {
      sites.push_back({cpu, pass.ledger.room_ppm(cpu.id, claim.path), has_spares(pass, pool, cpu.id)});
    }
  }
  return sites;
}

// None of the CPUs has a spare of its pool, and the kernel refuses that: a place to run is worth more.
bool unbind(const Cgroup& cgroup, Claim& claim) {
  const auto record = Membership::parse(cgroup.mark(mark::member));
  if (!record || record->pool != claim.use || !cgroup.write(file::use, "auto none")) {
    return false;
  }
  cgroup.clear_mark(mark::member);
  claim.use = "none";
  return true;
}

Result<void> write_placement(const Cgroup& cgroup, Claim& claim, const Cpus& chosen, const std::string& why) {
  const std::string list = "auto " + format_cpu_list(chosen);
  auto written = cgroup.write(file::cpus, list);
  if (!written && written.error().code == EINVAL && unbind(cgroup, claim)) {
    written = cgroup.write(file::cpus, list);
  }
  if (!written) {
    return written;
  }
  claim.cpus = chosen;
  return cgroup.set_mark(mark::placement, why);
}

void not_placed(Pass& pass, const Cgroup& cgroup, const Claim& claim, const std::string& why) {
  pass.complaints.say("place " + claim.path, fmt::format("{} is not placed: {}", claim.path, why));
  if (auto set = cgroup.set_mark(mark::placement, "not placed: " + why); !set) {
    pass.complaints.say("record " + claim.path, set.error().text);
  }
}

std::string no_room(const Pass& pass, const Claim& claim, const std::vector<Site>& sites) {
  Cpus cpus;
  for (const Site& site : sites) {
    cpus.push_back(site.cpu.id);
  }
  const std::string why = pass.ledger.refusal(claim.path, *claim.reservation, cpus, pass.online());
  return why.empty() ? "the kernel finds no CPU with room for it, see dmesg" : why;
}

// CPUs that the module has refused of late: load that came between our look and our write, most likely.
std::string refused_text(const Pass& pass, const Claim& claim) {
  Cpus refused;
  for (const HostCpu& cpu : pass.host) {
    if (pass.refusals.recent(claim.path, cpu.id)) {
      refused.push_back(cpu.id);
    }
  }
  return refused.empty() ? "" : "; refused by the kernel: CPUs " + format_cpu_list(refused);
}

void place_one(Pass& pass, const Cgroup& cgroup, Claim& claim, unsigned servers) {
  auto sites = sites_for(pass, cgroup, claim);
  const PlacementRequest request{utilization_ppm(*claim.reservation), servers, intersection(claim.cpus, pass.online())};
  for (;;) {
    const Cpus chosen = place(sites, request);
    if (chosen.empty()) {
      not_placed(pass, cgroup, claim, no_room(pass, claim, sites));
      return;
    }
    if (chosen.size() < servers) {
      pass.complaints.say("place " + claim.path, fmt::format("{} has room for {} of {} servers: {}", claim.path, chosen.size(), servers,
                                                             no_room(pass, claim, sites)));
    }
    if (chosen == claim.cpus) {
      return;
    }
    const std::string why = explain(sites, request, chosen, pool_for(pass, claim)) + refused_text(pass, claim);
    auto written = write_placement(cgroup, claim, chosen, why);
    if (written) {
      spdlog::info("{} is placed on CPUs {}: {}", claim.path, format_cpu_list(chosen), why);
      return;
    }
    if (written.error().code == EEXIST) {
      return;  // the operator was faster
    }
    // The module knows of load that the files do not show.
    const auto full = full_cpu_in(written.error().text);
    const auto site = std::find_if(sites.begin(), sites.end(), [&](const Site& each) { return full == each.cpu.id; });
    if (written.error().code != EBUSY || site == sites.end() || contains(request.keep, site->cpu.id)) {
      not_placed(pass, cgroup, claim, written.error().text);
      return;
    }
    pass.refusals.note(claim.path, site->cpu.id);
    sites.erase(site);
  }
}

// Is it ours to place, and is there something to do?
void consider(Pass& pass, Claim& claim) {
  const auto cgroup = pass.tree.at(claim.path);
  if (!cgroup) {
    return;
  }
  if (!claim.cpus.empty() && !placed_by_program(*cgroup)) {
    return;
  }
  const unsigned servers = std::max(pass.config.servers ? *pass.config.servers : vcpus_in(pass.roots, pass.tree, claim.path), 1U);
  const unsigned most = static_cast<unsigned>(std::max<size_t>(pass.host.size(), 1));
  const Cpus here = intersection(claim.cpus, pass.online());
  if (claim.cpus.empty() || here != claim.cpus || here.size() < std::min(servers, most)) {
    place_one(pass, *cgroup, claim, std::min(servers, most));
  }
}

}  // namespace

void place_vms(Pass& pass) {
  if (!pass.config.place) {
    return;
  }
  std::vector<Claim> todo;
  for (const Claim& claim : pass.ledger.claims()) {
    if (claim.reservation && !claim.provider && !is_pool_path(claim.path)) {
      todo.push_back(claim);
    }
  }
  // The largest first: what is small finds a gap later.
  std::stable_sort(todo.begin(), todo.end(), [](const Claim& a, const Claim& b) {
    return utilization_ppm(*a.reservation) > utilization_ppm(*b.reservation);
  });
  for (const Claim& claim : todo) {
    consider(pass, *pass.ledger.find(claim.path));
  }
}

}  // namespace spare
