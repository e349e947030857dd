// SPDX-License-Identifier: GPL-2.0-only
//
// SPARE-5: a pool is a cgroup /pool/NAME with a provider /pool/NAME/spare-N for each spare of its size; a provider has a server on
// each CPU of the pool, lent independently. (A cgroup per CPU and spare would need hundreds on a large host, for nothing.)
#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>

#include "manager.hpp"

namespace spare {
namespace {

std::string spare_path(const PoolConfig& pool, unsigned index) { return fmt::format("{}/spare-{}", pool.path(), index); }

bool is_wanted(const Config& config, const std::string& path) {
  return std::any_of(config.pools.begin(), config.pools.end(), [&](const PoolConfig& pool) {
    bool found = path == pool.path();
    for (unsigned i = 0; i < pool.size; i++) {
      found = found || path == spare_path(pool, i);
    }
    return found;
  });
}

Result<void> remove_empty(const CgroupTree& tree, const std::string& path) {
  const auto dir = tree.mount() / path.substr(1);
  if (::rmdir(dir.c_str()) != 0 && errno != ENOENT) {
    return errno_error("cannot remove cgroup " + path);
  }
  return {};
}

// Pools and spares that are spared's and no longer in the configuration; children first.
void remove_unwanted(Pass& pass) {
  std::vector<std::string> paths;
  for (const Claim& claim : pass.ledger.claims()) {
    if (is_pool_path(claim.path) && !is_wanted(pass.config, claim.path)) {
      paths.push_back(claim.path);
    }
  }
  std::sort(paths.rbegin(), paths.rend());
  for (const std::string& path : paths) {
    const auto cgroup = pass.tree.at(path);
    if (!cgroup || !cgroup->mark(mark::pool)) {
      continue;
    }
    if (auto removed = remove_empty(pass.tree, path); !removed) {
      pass.complaints.say("pool " + path, removed.error().text);
      continue;
    }
    pass.ledger.erase(path);
    spdlog::info("removed {}", path);
  }
}

Result<Cgroup> make_marked(Pass& pass, const std::string& path, const std::string& pool) {
  auto made = pass.tree.make(path);
  if (!made) {
    return made;
  }
  if (auto set = made->set_mark(mark::pool, pool); !set) {
    return set.error();
  }
  const auto claim = read_claim(*made);
  if (!claim) {
    return claim.error();
  }
  pass.ledger.put(*claim);
  spdlog::info("made {}", path);
  return made;
}

// The spare's CPUs: those of the configuration that are online and have room. One that it has stays, online or not, unless the
// configuration gives it up or asks for more than there is.
struct Target {
  Cpus cpus, full;
};
Target target_of(const Pass& pass, const PoolConfig& pool, const Claim& claim) {
  const Cpus online = pass.online();
  const Cpus configured = pool.cpus ? *pool.cpus : online;
  const Cpus reachable = intersection(configured, online);
  const bool asks_no_more = claim.reservation && utilization_ppm(pool.spare) <= utilization_ppm(*claim.reservation);
  Target target;
  for (const unsigned cpu : reachable) {
    if (pass.refusals.recent(claim.path, cpu) || pass.ledger.room_ppm(cpu, claim.path) < utilization_ppm(pool.spare)) {
      target.full.push_back(cpu);
    }
  }
  if (asks_no_more) {
    target.full = difference(target.full, claim.cpus);
  }
  target.cpus = difference(reachable, target.full);
  for (const unsigned cpu : claim.cpus) {
    if (!contains(online, cpu) && (!pool.cpus || contains(*pool.cpus, cpu))) {
      target.cpus.insert(std::upper_bound(target.cpus.begin(), target.cpus.end(), cpu), cpu);
    }
  }
  return target;
}

// Writes the list; a CPU that the module finds full all the same is left out.
Result<void> write_cpus(Pass& pass, const Cgroup& cgroup, Claim& claim, Target& target) {
  for (;;) {
    if (target.cpus == claim.cpus) {
      return {};
    }
    auto written = cgroup.write(file::cpus, format_cpu_list(target.cpus));
    if (written) {
      claim.cpus = target.cpus;
      return {};
    }
    if (written.error().code == ERANGE && target.cpus != intersection(target.cpus, pass.online())) {
      target.cpus = intersection(target.cpus, pass.online());
      continue;
    }
    const auto full = full_cpu_in(written.error().text);
    if (written.error().code != EBUSY || !full || !contains(target.cpus, *full)) {
      return written;
    }
    pass.refusals.note(claim.path, *full);
    target.cpus = difference(target.cpus, {*full});
    target.full.push_back(*full);
  }
}

Result<void> configure(Pass& pass, const PoolConfig& pool, const Cgroup& cgroup, Claim& claim, Target& target) {
  if (claim.reservation != pool.spare) {
    if (auto written = cgroup.write(file::reservation, pool.spare.kernel_form()); !written) {
      return written;
    }
    claim.reservation = pool.spare;
  }
  if (!claim.provider) {
    if (auto written = cgroup.write(file::provide, "1"); !written) {
      return written;
    }
    claim.provider = true;
  }
  return write_cpus(pass, cgroup, claim, target);
}

Result<void> build_spare(Pass& pass, const PoolConfig& pool, const std::string& path) {
  auto cgroup = pass.tree.at(path);
  if (cgroup && pass.ledger.find(path) == nullptr) {
    return Error{path + " has no spare files: is '+io' in cgroup.subtree_control of its parent?"};
  }
  if (cgroup && !cgroup->mark(mark::pool)) {
    return Error{path + " is there already, and not spared's; remove it"};
  }
  // A provider that is in use gives up no CPU: it goes, with what it is lending at the moment, and comes back.
  if (cgroup) {
    const Claim& claim = *pass.ledger.find(path);
    if (!difference(claim.cpus, target_of(pass, pool, claim).cpus).empty()) {
      if (auto removed = remove_empty(pass.tree, path); !removed) {
        return removed;
      }
      pass.ledger.erase(path);
      cgroup = Error{};
    }
  }
  if (!cgroup) {
    cgroup = make_marked(pass, path, pool.name);
    if (!cgroup) {
      return cgroup.error();
    }
  }
  Claim& claim = *pass.ledger.find(path);
  Target target = target_of(pass, pool, claim);
  if (auto configured = configure(pass, pool, *cgroup, claim, target); !configured) {
    return configured;
  }
  if (!target.full.empty()) {
    const std::string why = pass.ledger.refusal(path, pool.spare, target.full, pass.online());
    return Error{why.empty() ? "the kernel refuses CPUs " + format_cpu_list(target.full) + ", see dmesg" : why};
  }
  if (const Cpus away = pool.cpus ? difference(*pool.cpus, pass.online()) : Cpus(); !away.empty()) {
    return Error{"CPUs " + format_cpu_list(away) + " of its configuration are not online: nothing is spare there"};
  }
  return {};
}

Result<void> build_pool(Pass& pass, const PoolConfig& pool) {
  const auto there = pass.tree.at(pool.path());
  if (there) {
    const Claim* claim = pass.ledger.find(pool.path());
    if (claim != nullptr && claim->provider) {
      return Error{pool.path() + " is a provider, no pool; remove it, or give the pool another name"};
    }
  }
  if (!there || !there->mark(mark::pool)) {
    if (auto made = make_marked(pass, pool.path(), pool.name); !made) {
      return made.error();
    }
  }
  return {};
}

}  // namespace

void build_pools(Pass& pass) {
  remove_unwanted(pass);
  for (const PoolConfig& pool : pass.config.pools) {
    if (auto built = build_pool(pass, pool); !built) {
      pass.complaints.say("pool " + pool.name, fmt::format("pool {}: {}", pool.name, built.error().text));
      continue;
    }
    for (unsigned i = 0; i < pool.size; i++) {
      const std::string path = spare_path(pool, i);
      if (auto built = build_spare(pass, pool, path); !built) {
        pass.complaints.say("pool " + path, fmt::format("pool {}: {}: {}", pool.name, path, built.error().text));
      }
    }
  }
}

}  // namespace spare
