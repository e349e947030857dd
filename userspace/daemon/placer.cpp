// SPDX-License-Identifier: GPL-2.0-only
//
// Writes spare.cpus of cgroups that have a reservation and no list: lib/placement.cpp chooses, where the affinities of the vCPUs allow, and
// anew when these change (CBS-11). A list that somebody else has written is never touched: the module refuses "auto LIST" there, also when it
// came between our look and our write. Threads that no server can serve are reported.
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <iterator>
#include <set>

#include "manager.hpp"
#include "membership.hpp"
#include "placement.hpp"
#include "threads.hpp"
#include "util/files.hpp"

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

// Where its vCPUs may run or, when no thread has such a name, all its threads: what its servers are for.
std::vector<Cpus> affinities(const Pass& pass, const std::vector<Thread>& threads) {
  const auto vcpus = vcpus_of(threads);
  const Cpus online = pass.online();
  std::vector<Cpus> masks;
  for (const Thread& thread : vcpus.empty() ? threads : vcpus) {
    Cpus allowed = intersection(thread.allowed, online);
    if (!allowed.empty() && std::find(masks.begin(), masks.end(), allowed) == masks.end()) {
      masks.push_back(std::move(allowed));
    }
  }
  return masks;
}

// May any of them run there?
bool of_use(const std::vector<Cpus>& masks, unsigned cpu) {
  return masks.empty() || std::any_of(masks.begin(), masks.end(), [&](const Cpus& mask) { return contains(mask, cpu); });
}

bool serve(const Cpus& cpus, const std::vector<Cpus>& masks) {
  return std::all_of(masks.begin(), masks.end(), [&](const Cpus& mask) { return !intersection(mask, cpus).empty(); }) &&
         std::all_of(cpus.begin(), cpus.end(), [&](unsigned cpu) { return of_use(masks, cpu); });
}

std::vector<Site> sites_for(const Pass& pass, const Cgroup& cgroup, const Claim& claim, const std::vector<Cpus>& masks) {
  const std::string pool = pool_for(pass, claim);
  const auto text = cgroup.has("cpuset.cpus.effective") ? cgroup.read("cpuset.cpus.effective") : Result<std::string>(Error{});
  const auto cpuset = text ? parse_cpu_list(*text) : Result<Cpus>(Error{});
  std::vector<Site> sites;
  for (const HostCpu& cpu : pass.host) {
    const bool allowed = (!cpuset || cpuset->empty() || contains(*cpuset, cpu.id)) && of_use(masks, cpu.id);
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
  const std::string state = claim.cpus.empty() ? "not placed" : fmt::format("left on CPUs {}", format_cpu_list(claim.cpus));
  pass.complaints.say("place " + claim.path, fmt::format("{} is {}: {}", claim.path, state, why));
  if (auto set = cgroup.set_mark(mark::placement, state + ": " + why); !set) {
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

// What it says of a cgroup that it could not place, or move.
bool tells_trouble(const std::string& why) { return why.starts_with("left on ") || why.starts_with("not placed"); }

void place_one(Pass& pass, const Cgroup& cgroup, Claim& claim, unsigned servers, std::vector<Cpus> masks) {
  auto sites = sites_for(pass, cgroup, claim, masks);
  for (;;) {
    PlacementRequest request{utilization_ppm(*claim.reservation), servers, intersection(claim.cpus, pass.online())};
    request.keep = keep_for(sites, request, masks);
    const Cpus chosen = place(sites, request);
    if (chosen.empty() && claim.cpus.empty() && !masks.empty()) {
      // No room where its threads may run, as far as they are there yet: strays are better than no reservation.
      masks.clear();
      sites = sites_for(pass, cgroup, claim, masks);
      continue;
    }
    if (chosen.empty()) {
      not_placed(pass, cgroup, claim, no_room(pass, claim, sites));
      return;
    }
    if (chosen.size() < servers) {
      pass.complaints.say("place " + claim.path, fmt::format("{} has room for {} of {} servers: {}", claim.path, chosen.size(), servers,
                                                             no_room(pass, claim, sites)));
    }
    const Cpus before = claim.cpus;
    const std::string why = explain(sites, request, chosen, pool_for(pass, claim)) + refused_text(pass, claim);
    if (chosen == claim.cpus) {
      if (tells_trouble(cgroup.mark(mark::placement).value_or(""))) {
        static_cast<void>(cgroup.set_mark(mark::placement, why));
      }
      return;
    }
    auto written = write_placement(cgroup, claim, chosen, why);
    if (written) {
      pass.changed.insert(claim.path);
      spdlog::info("{} is {} CPUs {}: {}", claim.path, before.empty() ? "placed on" : fmt::format("moved from CPUs {} to", format_cpu_list(before)),
                   format_cpu_list(chosen), why);
      return;
    }
    if (written.error().code == EEXIST) {
      return;  // the operator was faster
    }
    // The module knows of load that the files do not show.
    const auto full = full_cpu_in(written.error().text);
    const auto site = std::find_if(sites.begin(), sites.end(), [&](const Site& each) { return full == each.cpu.id; });
    if (written.error().code != EBUSY || site == sites.end() || contains(claim.cpus, site->cpu.id)) {
      not_placed(pass, cgroup, claim, written.error().text);
      return;
    }
    pass.refusals.note(claim.path, site->cpu.id);
    sites.erase(site);
  }
}

// Is it ours to place, and is there something to do?
void consider(Pass& pass, const Cgroup& cgroup, Claim& claim, const std::vector<Thread>& threads) {
  if (!claim.cpus.empty() && !placed_by_program(cgroup)) {
    return;
  }
  const auto vcpus = static_cast<unsigned>(vcpus_of(threads).size());
  const unsigned servers = std::max(pass.config.servers ? *pass.config.servers : vcpus, 1U);
  const auto masks = affinities(pass, threads);
  const auto useful = std::count_if(pass.host.begin(), pass.host.end(), [&](const HostCpu& cpu) { return of_use(masks, cpu.id); });
  const unsigned most = static_cast<unsigned>(std::max<std::ptrdiff_t>(useful, 1));
  const Cpus here = intersection(claim.cpus, pass.online());
  if (claim.cpus.empty() || here != claim.cpus || here.size() < std::min(servers, most) || !serve(here, masks) ||
      tells_trouble(cgroup.mark(mark::placement).value_or(""))) {
    place_one(pass, cgroup, claim, std::min(servers, most), masks);
  }
}

// Names, each once: threads of a pool come and go, and that is no news.
std::string named(const std::vector<const Thread*>& threads) {
  constexpr size_t most = 4;
  std::set<std::string> names;
  for (const Thread* thread : threads) {
    names.insert(printable(thread->name));
  }
  const auto last = std::next(names.begin(), static_cast<std::ptrdiff_t>(std::min(names.size(), most)));
  return fmt::format("{}{}", fmt::join(names.begin(), last, ", "), names.size() > most ? ", ..." : "");
}

// Threads that run otherwise than who has reserved for them will think.
void report(Pass& pass, const Cgroup& cgroup, const Claim& claim, const std::vector<Thread>& threads) {
  const Cpus serving = intersection(claim.cpus, pass.online());
  std::vector<const Thread*> strays, realtime;
  for (const Thread& thread : threads) {
    if (thread.realtime) {
      realtime.push_back(&thread);
    } else if (!claim.cpus.empty() && !thread.allowed.empty() && intersection(thread.allowed, serving).empty()) {
      strays.push_back(&thread);
    }
  }
  std::string text;
  if (!strays.empty()) {
    text = fmt::format("no server where these threads may run: {}; paid from the reservation, they get what the host leaves there. {}", named(strays),
                       !pass.config.place          ? "spared is told not to place"
                       : placed_by_program(cgroup) ? "No room for one, or they are no vCPUs"
                                                 : fmt::format("{} was not written by spared: add their CPUs, or empty it", file::cpus));
  }
  if (!realtime.empty()) {
    text += fmt::format("{}real-time: {}; no reservation holds them back, other VMs lose what they use", text.empty() ? "" : "; ", named(realtime));
  }
  if (text.empty()) {
    cgroup.clear_mark(mark::threads);
    return;
  }
  pass.complaints.say("threads " + claim.path, fmt::format("{}: {}", claim.path, text));
  if (cgroup.mark(mark::threads) == text) {
    return;
  }
  pass.changed.insert(claim.path);
  if (auto set = cgroup.set_mark(mark::threads, text); !set) {
    pass.complaints.say("record " + claim.path, set.error().text);
  }
}

}  // namespace

void place_vms(Pass& pass) {
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
  for (const Claim& each : todo) {
    Claim& claim = *pass.ledger.find(each.path);
    if (const auto cgroup = pass.tree.at(claim.path)) {
      const auto threads = threads_in(pass.roots, pass.tree, claim.path);
      if (pass.config.place) {
        consider(pass, *cgroup, claim, threads);
      }
      report(pass, *cgroup, claim, threads);
    }
  }
}

}  // namespace spare
