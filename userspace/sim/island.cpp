// SPDX-License-Identifier: GPL-2.0-only
#include "island.hpp"

#include <map>

namespace spare::sim {
void Use::add(const Use& other) {
  used_ns += other.used_ns;
  boost_ns += other.boost_ns;
  lent_ns += other.lent_ns;
  periods += other.periods;
  use_max_ns = std::max(use_max_ns, other.use_max_ns);
  misses += other.misses;
  overrun_max_ns = std::max(overrun_max_ns, other.overrun_max_ns);
  asked += other.asked;
  granted += other.granted;
  blocked += other.blocked;
  denied += other.denied;
  expired += other.expired;
  hastened += other.hastened;
  held_ns += other.held_ns;
  waited_ns += other.waited_ns;
}

void Totals::add(const Totals& other) {
  for (std::size_t i = 0; i < other.pools.size(); i++) {
    pools[i].add(other.pools[i]);
  }
  for (unsigned i = 0; i < found_kinds; i++) {
    latency[i].add(other.latency[i]);
  }
  events += other.events;
}

Island::Island(const System& system, const std::vector<unsigned>& cpus, const std::vector<unsigned>& vms, Observer* observer)
    : system_(system), vm_index_(vms) {
  std::map<unsigned, unsigned> local;
  for (const unsigned cpu : cpus) {
    local[cpu] = static_cast<unsigned>(cpus_.size());
    cpus_.push_back(std::make_unique<Cpu>(*this, static_cast<unsigned>(cpus_.size()), system.host, observer));
  }
  /* A pool has providers on the CPUs where a VM uses it. */
  std::map<std::pair<unsigned, int>, std::vector<unsigned>> providers;
  for (const unsigned index : vms) {
    const Vm& spec = system.vms[index];
    for (const unsigned cpu : spec.cpus) {
      auto& slots = providers[{local[cpu], spec.pool}];
      if (spec.pool < 0 || !slots.empty()) {
        continue;
      }
      const Pool& pool = system.pools[static_cast<std::size_t>(spec.pool)];
      for (unsigned i = 0; i < pool.size; i++) {
        slots.push_back(cpus_[local[cpu]]->add_provider(pool, static_cast<unsigned>(spec.pool)));
      }
    }
  }
  for (const unsigned index : vms) {
    const Vm& spec = system.vms[index];
    vms_.push_back(std::make_unique<VmState>(spec, system.seed, index));
    VmState& vm = *vms_.back();
    for (const unsigned cpu : spec.cpus) {
      const unsigned slot = cpus_[local[cpu]]->add_server(vm, index, vm.places.empty(), providers[{local[cpu], spec.pool}]);
      vm.places.emplace_back(local[cpu], slot);
    }
  }
}

void Island::run_until(Time end) {
  if (cpus_.size() == 1) {
    Cpu& cpu = *cpus_.front();
    for (Time now = cpu.next(); now < end; now = cpu.next()) {
      cpu.step(now);
    }
    return;
  }
  for (unsigned i = 0; i < cpus_.size(); i++) {
    due_.emplace(cpus_[i]->next(), i);
  }
  while (!due_.empty() && due_.top().first < end) {
    const auto [now, index] = due_.top();
    due_.pop();
    if (now != cpus_[index]->next()) {
      continue;  // out of date: it stands in the queue at its new time too
    }
    cpus_[index]->step(now);
    due_.emplace(cpus_[index]->next(), index);
  }
  due_ = {};
}

void Island::reset_counts() {
  for (const auto& cpu : cpus_) {
    cpu->reset_counts();
  }
  for (const auto& vm : vms_) {
    vm->result = VmResult();
  }
  for (Histogram& histogram : latency_) {
    histogram = Histogram();
  }
}

void Island::run(std::vector<VmResult>& vms, Totals& totals) {
  if (system_.warmup_ns != 0) {
    run_until(system_.warmup_ns);
    reset_counts();
  }
  run_until(system_.warmup_ns + system_.length_ns);
  collect(vms, totals);
}

void Island::collect(std::vector<VmResult>& vms, Totals& totals) {
  for (const auto& cpu : cpus_) {
    totals.events += cpu->events();
    for (const auto& server : cpu->servers()) {
      if (server->vm == nullptr) {
        totals.pools[server->owner].add(server->use);
      } else {
        server->vm->result.use.add(server->use);
      }
    }
  }
  for (std::size_t i = 0; i < vms_.size(); i++) {
    vms[vm_index_[i]] = std::move(vms_[i]->result);
  }
  for (unsigned i = 0; i < found_kinds; i++) {
    totals.latency[i].add(latency_[i]);
  }
}

}  // namespace spare::sim
