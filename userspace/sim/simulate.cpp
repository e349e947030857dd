// SPDX-License-Identifier: GPL-2.0-only
#include "simulate.hpp"

#include <fmt/format.h>
#include <sched_spare/parse.h>

#include <algorithm>
#include <atomic>
#include <mutex>
#include <numeric>
#include <thread>

#include "island.hpp"

namespace spare::sim {
namespace {

// Which CPUs belong together: those with servers of one VM. A union-find over CPUs.
class Partition {
 public:
  explicit Partition(unsigned cpus) : parent_(cpus) { std::iota(parent_.begin(), parent_.end(), 0U); }
  unsigned root(unsigned cpu) {
    while (parent_[cpu] != cpu) {
      cpu = parent_[cpu] = parent_[parent_[cpu]];
    }
    return cpu;
  }
  void join(unsigned a, unsigned b) { parent_[root(a)] = root(b); }

 private:
  std::vector<unsigned> parent_;
};

struct Members {
  std::vector<unsigned> cpus, vms;
};

// Of VMs whose CPUs are some of the system's.
std::vector<Members> islands_of(const System& system) {
  Partition partition(system.cpus);
  for (const Vm& vm : system.vms) {
    for (const unsigned cpu : vm.cpus) {
      partition.join(vm.cpus.front(), cpu);
    }
  }
  std::vector<Members> by_root(system.cpus);
  for (unsigned cpu = 0; cpu < system.cpus; cpu++) {
    by_root[partition.root(cpu)].cpus.push_back(cpu);
  }
  for (unsigned i = 0; i < system.vms.size(); i++) {
    if (!system.vms[i].cpus.empty()) {
      by_root[partition.root(system.vms[i].cpus.front())].vms.push_back(i);
    }
  }
  std::erase_if(by_root, [](const Members& members) { return members.vms.empty(); });
  return by_root;
}

spare::Result<void> check_reservation(const Reservation& reservation, const std::string& whose) {
  if (spare_reservation_check(reservation.runtime_us, reservation.period_us) != 0) {
    return Error{fmt::format("{}: {}/{} is outside what the module takes: 100us <= P <= 1s, 50us <= Q <= P, Q/P >= 0.5 %", whose,
                             format_us(reservation.runtime_us), format_us(reservation.period_us)),
                 ERANGE};
  }
  return {};
}

std::uint32_t ppm(const Reservation& reservation) {
  return spare_util_ppm(static_cast<__u32>(reservation.runtime_us), static_cast<__u32>(reservation.period_us));
}

struct Load {
  std::uint64_t ppm = 0;
  unsigned servers = 0;
  std::vector<int> pools;
};

spare::Result<void> add_vm(std::vector<Load>& loads, const System& system, std::size_t index) {
  const Vm& vm = system.vms[index];
  const std::string whose = fmt::format("VM {}", index);
  if (auto checked = check_reservation(vm.reservation, whose); !checked) {
    return checked;
  }
  if (vm.pool >= static_cast<int>(system.pools.size())) {
    return Error{fmt::format("{}: there is no pool {}", whose, vm.pool), EINVAL};
  }
  std::vector<unsigned> cpus = vm.cpus;
  std::sort(cpus.begin(), cpus.end());
  if (cpus.empty() || cpus.back() >= system.cpus || std::adjacent_find(cpus.begin(), cpus.end()) != cpus.end()) {
    return Error{fmt::format("{}: its CPUs must be different ones of 0 to {}, at least one", whose, system.cpus - 1), EINVAL};
  }
  for (const unsigned cpu : cpus) {
    Load& load = loads[cpu];
    load.ppm += ppm(vm.reservation);
    load.servers++;
    if (vm.pool >= 0 && std::find(load.pools.begin(), load.pools.end(), vm.pool) == load.pools.end()) {
      const Pool& pool = system.pools[static_cast<std::size_t>(vm.pool)];
      load.pools.push_back(vm.pool);
      load.ppm += static_cast<std::uint64_t>(pool.size) * ppm(pool.reservation);
      load.servers += pool.size;
    }
  }
  return {};
}

}  // namespace

spare::Result<void> check(const System& system, std::uint32_t limit_ppm) {
  for (std::size_t i = 0; i < system.pools.size(); i++) {
    const std::string whose = fmt::format("pool {}", i);
    if (auto checked = check_reservation(system.pools[i].reservation, whose); !checked) {
      return checked;
    }
    if (system.pools[i].size > SPARE_USE_MAX) {
      return Error{
          fmt::format("{}: {} providers per CPU, a VM can use {}", whose, system.pools[i].size, static_cast<int>(SPARE_USE_MAX)),
          ERANGE};
    }
  }
  std::vector<Load> loads(system.cpus);
  for (std::size_t i = 0; i < system.vms.size(); i++) {
    if (auto added = add_vm(loads, system, i); !added) {
      return added;
    }
  }
  for (std::size_t cpu = 0; cpu < loads.size(); cpu++) {
    if (loads[cpu].ppm > limit_ppm) {
      return Error{fmt::format("CPU {} is full: {:.2f} % of it asked, {:.2f} % admitted", cpu,
                               static_cast<double>(loads[cpu].ppm) / 1e4, limit_ppm / 1e4),
                   EBUSY};
    }
    if (loads[cpu].servers > SPARE_SLOTS) {
      return Error{fmt::format("CPU {}: {} servers, at most {}", cpu, loads[cpu].servers, static_cast<int>(SPARE_SLOTS)), EBUSY};
    }
  }
  for (const Members& members : islands_of(system)) {
    if (members.cpus.size() > Island::cpus_max) {
      return Error{fmt::format("VMs with servers on several CPUs tie {} of them together, at most {} can be simulated so", members.cpus.size(),
                               static_cast<unsigned>(Island::cpus_max)),
                   E2BIG};
    }
  }
  return {};
}

Result simulate(const System& system, const RunOptions& options) {
  const std::vector<Members> islands = islands_of(system);
  Result result;
  result.vms.resize(system.vms.size());
  result.pools.resize(system.pools.size());
  std::atomic<std::size_t> next{0};
  std::mutex mutex;
  const auto work = [&] {
    Totals part;
    part.pools.resize(system.pools.size());
    for (std::size_t i = next++; i < islands.size(); i = next++) {
      Island(system, islands[i].cpus, islands[i].vms, options.observer).run(result.vms, part);
    }
    const std::scoped_lock lock(mutex);
    result.add(part);
  };
  const unsigned threads = options.observer != nullptr ? 1 : std::max(1U, options.threads);
  std::vector<std::thread> others;
  for (unsigned i = 1; i < threads; i++) {
    others.emplace_back(work);
  }
  work();
  for (std::thread& thread : others) {
    thread.join();
  }
  return result;
}

}  // namespace spare::sim
