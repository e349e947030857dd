// SPDX-License-Identifier: GPL-2.0-only
#include "island.hpp"

#include <algorithm>
#include <cstdio>
#include <map>

#include <sched_spare/cbs.h>

namespace spare::sim {
namespace {

constexpr std::size_t tap_limit = 500;    // packets: the tap's queue
constexpr std::size_t ring_limit = 1024;  // packets: the guest's
constexpr std::size_t host_limit = 1000;  // packets: net.core.netdev_max_backlog
constexpr unsigned admit_all = SPARE_PPM;

}  // namespace

// ---- what there is

Island::Island(const System& system, const std::vector<unsigned>& cpus, const std::vector<unsigned>& vms, Observer* observer)
    : Kernel(model::Exact{system.host.switch_ns}, static_cast<unsigned>(cpus.size())), system_(system), observer_(observer), books_(cpus.size()) {
  std::map<unsigned, unsigned> local;
  for (const unsigned cpu : cpus) {
    const auto n = static_cast<unsigned>(local.size());
    local[cpu] = n;
  }
  root_.css = {1, 1};
  root_.scx = {false, 100, 100'000, ~0ULL, 0};
  module_.limit_ppm = admit_all;
  class_begin(static_cast<unsigned>(cpus.size()));
  /* A pool has providers on the CPUs where a VM uses it. */
  std::map<std::pair<unsigned, int>, std::vector<model::Vm*>> providers;
  for (const unsigned index : vms) {
    const Vm& spec = system.vms[index];
    for (const unsigned cpu : spec.cpus) {
      auto& list = providers[{local[cpu], spec.pool}];
      if (spec.pool < 0 || !list.empty()) {
        continue;
      }
      const Pool& pool = system.pools[static_cast<std::size_t>(spec.pool)];
      for (unsigned i = 0; i < pool.size; i++) {
        list.push_back(&make_vm(pool.reservation, true, 1ULL << local[cpu]));
        enter(*module_.at(static_cast<int>(local[cpu]), list.back()->slot[local[cpu]]), static_cast<unsigned>(spec.pool));
      }
    }
  }
  for (const unsigned index : vms) {
    std::vector<unsigned> home;
    std::vector<model::Vm*> uses;
    for (const unsigned cpu : system.vms[index].cpus) {
      home.push_back(local[cpu]);
      const auto& here = providers[{local[cpu], system.vms[index].pool}];
      uses.insert(uses.end(), here.begin(), here.end());
    }
    make_guest(index, home, uses);
  }
  if (sched_spare_ops.init()) {
    fail("init fails");
  }
  for (const auto& guest : guests_) {
    born(*guest->net, guest->net->thread_info.cpu);
    for (const auto& vcpu : guest->vcpus) {
      born(*vcpu, vcpu->thread_info.cpu);
    }
  }
  for (unsigned i = 0; i < this->cpus(); i++) {
    kick(static_cast<int>(i));
    interrupt_ends(static_cast<int>(i));
    if (system.host.packet_ns == 0) {
      continue;
    }
    auto& task = interrupts_.emplace_back(std::make_unique<Interrupts>())->task;
    task.role = model::Role::realtime;
    task.policy = model::Policy::realtime;
    task.pid = static_cast<int>(500 + i);
    task.mask.bits = 1ULL << i;
    task.cpus_ptr = &task.mask;
    task.nr_cpus_allowed = 1;
    task.sched_task_group = &root_;
    born(task, i);
  }
  module_.watch = this;
}

Island::~Island() = default;

void Island::enter(model::Server& s, unsigned owner) {
  auto& books = books_[s.cpu];
  if (books.size() <= s.slot) {
    books.resize(s.slot + 1);
  }
  books[s.slot].s = &s;
  books[s.slot].owner = owner;
  books[s.slot].provider = s.vm->config.provide;
}

Island::Book& Island::book(const model::Server& s) {
  return books_[s.cpu][s.slot];
}

model::Vm& Island::make_vm(const Reservation& reservation, bool provide, std::uint64_t cpus) {
  model::Vm& vm = module_.make_vm();
  vm.group.parent = &root_;
  if (!module_.set(vm, {{static_cast<std::uint32_t>(reservation.runtime_us), static_cast<std::uint32_t>(reservation.period_us)}, provide, cpus})) {
    fail("a system that check() admits is refused");
  }
  return vm;
}

std::unique_ptr<Island::Thread> Island::make_thread(Guest& guest, model::Role role, unsigned number, unsigned cpu) {
  auto p = std::make_unique<Thread>();
  p->guest = &guest;
  p->role = role;
  std::snprintf(p->comm, sizeof(p->comm), role == model::Role::net ? "vhost-%u" : "CPU %u/KVM", number);
  p->pid = static_cast<int>(2000 + 100 * guests_.size() + guest.vcpus.size());
  p->mask.bits = 1ULL << cpu;
  p->cpus_ptr = &p->mask;
  p->nr_cpus_allowed = 1;
  p->prio = 120;
  p->scx.weight = 100;
  p->vm = guest.vm;
  p->sched_task_group = &root_;
  p->thread_info.cpu = cpu;
  return p;
}

void Island::make_guest(unsigned index, const std::vector<unsigned>& home, const std::vector<model::Vm*>& providers) {
  const Vm& spec = system_.vms[index];
  Guest& guest = *guests_.emplace_back(std::make_unique<Guest>(spec, system_.seed, index, guests_.size()));
  std::uint64_t mask = 0;
  for (const unsigned cpu : home) {
    mask |= 1ULL << cpu;
  }
  guest.vm = &make_vm(spec.reservation, false, mask);
  const Policy& policy = spec.policy;
  module_.policy(*guest.vm, policy.grant_ns, policy.chances, policy.window_ns, policy.gain_ns,
                 policy.payback * SPARE_VM_PAYBACK | !policy.wait * SPARE_VM_NOWAIT | policy.hasten * SPARE_VM_HASTEN);
  module_.use(*guest.vm, providers);
  for (const unsigned cpu : home) {
    model::Server& s = *module_.at(static_cast<int>(cpu), guest.vm->slot[cpu]);
    guest.servers.push_back(&s);
    enter(s, index);
    book(s).guest = &guest;
    guest.vcpus.push_back(make_thread(guest, model::Role::vcpu, static_cast<unsigned>(guest.vcpus.size()), cpu));
  }
  guest.net = make_thread(guest, model::Role::net, 1, home[0]);
  schedule_arrival(guest);
  if (spec.burns) {
    post(begins + spec.start_ns, static_cast<int>(home[0]), 2 * guest.number + 1);
  }
}

// ---- packets

void Island::schedule_arrival(Guest& guest) {
  if (guest.arrivals.next() < system_.warmup_ns + system_.length_ns) {
    post(begins + guest.arrivals.next(), static_cast<int>(guest.servers[0]->cpu), 2 * guest.number);
  }
}

Found Island::found(const Guest& guest) const {
  const spare_server& home = guest.servers[0]->abi;
  if (home.state != SPARE_THROTTLED) {
    return Found::own;
  }
  for (int i = 0; i < SPARE_USE_MAX && home.use[i] != SPARE_NO_SLOT; i++) {
    const spare_server& v = module_.at(static_cast<int>(home.cpu), home.use[i])->abi;
    if (v.borrower == SPARE_NO_SLOT && !spare_before(now(), v.cbs.d_ns)) {
      return Found::free;
    }
  }
  return Found::busy;
}

ThreadView Island::view(const Thread& p) {
  return {running(p) ? ThreadState::running : asleep(p) ? ThreadState::asleep : ThreadState::queued, p.scx.dsq_vtime};
}

// The tap's hook, then the host's way to the tap's queue.
void Island::arrive(Guest& guest) {
  const Packet packet{guest.arrivals.next(), found(guest)};
  const unsigned count = guest.arrivals.count();
  guest.arrivals.pop();
  schedule_arrival(guest);
  guest.result.packets += count;
  Interrupts* host = interrupts_.empty() ? nullptr : interrupts_[guest.servers[0]->cpu].get();
  if (host != nullptr && host->packets.size() >= host_limit) {
    guest.result.dropped += count;
    return;
  }
  for (unsigned i = 0; i < count; i++) {
    guest.result.by_found[static_cast<unsigned>(packet.found)]++;
    if (observer_ != nullptr) {
      observer_->came(book(*guest.servers[0]).place(), view(*guest.net), view(*guest.vcpus[0]), packet.found, relative());
    }
    if (!guest.tap.push(packet, tap_limit)) {
      guest.result.dropped++;
    }
  }
  module_.packet(*guest.vm, count);
  if (host == nullptr) {
    deliver(guest);
    return;
  }
  host->packets.emplace_back(&guest, count * system_.host.packet_ns);
  if (asleep(host->task)) {
    host->task.left = host->packets.front().second;
    wake(here_cpu(), host->task);
  }
}

void Island::take_packet(Guest& guest) {
  guest.hand = guest.tap.pop();
  guest.in_hand = true;
  guest.net->left = guest.spec.net_ns;
}

void Island::deliver(Guest& guest) {
  if (!asleep(*guest.net) || guest.tap.empty()) {
    return;
  }
  take_packet(guest);
  wake(here_cpu(), *guest.net);
}

// The network thread has copied the packet: a vCPU finds it when it next looks.
void Island::hand_to_vcpu(Guest& guest) {
  Thread& vcpu = *guest.vcpus[guest.next_vcpu];
  guest.in_hand = false;
  guest.next_vcpu = (guest.next_vcpu + 1) % static_cast<unsigned>(guest.vcpus.size());
  if (!vcpu.ring.push(guest.hand, ring_limit)) {
    guest.result.dropped++;
  }
  if (asleep(vcpu)) {
    vcpu.left = 0;
    wake(here_cpu(), vcpu);
  } else if (running(vcpu) && vcpu.left == model::forever) {
    vcpu.left = 0;
    run_for(vcpu);
  }
}

void Island::vcpu_work(Thread& p) {
  Guest& guest = *p.guest;
  while (!p.ring.empty()) {
    const Packet packet = p.ring.pop();
    const Time latency = relative() - packet.arrived;
    guest.result.seen++;
    guest.result.latency.add(latency);
    latency_[static_cast<unsigned>(packet.found)].add(latency);
    if (observer_ != nullptr) {
      observer_->seen(guest.index, packet, relative());
    }
    if (guest.spec.vcpu_ns != 0) {
      p.left = guest.spec.vcpu_ns;
      run_for(p);
      return;
    }
  }
  if (guest.spec.burns) {
    p.left = model::forever;
  } else {
    block(here_cpu());
  }
}

void Island::work_done(model::Task& p) {
  const int cpu = here_cpu();
  if (p.role == model::Role::vcpu) {
    vcpu_work(static_cast<Thread&>(p));
  } else if (p.role == model::Role::net) {
    Guest& guest = *static_cast<Thread&>(p).guest;
    if (guest.in_hand) {
      hand_to_vcpu(guest);
    }
    if (guest.tap.empty()) {
      block(cpu);
    } else {
      take_packet(guest);
      run_for(p);
    }
  } else {
    auto& packets = interrupts_[static_cast<unsigned>(cpu)]->packets;
    deliver(*packets.front().first);
    packets.pop_front();
    if (packets.empty()) {
      block(cpu);
    } else {
      p.left = packets.front().second;
      run_for(p);
    }
  }
  interrupt_ends(cpu);
}

void Island::switched(model::Cpu&, model::Task&, model::Task& next) {
  if (next.role == model::Role::vcpu) {
    if (next.left == model::forever && !static_cast<Thread&>(next).ring.empty()) {
      next.left = 0;
    }
  } else if (next.role == model::Role::net) {
    Guest& guest = *static_cast<Thread&>(next).guest;
    if (guest.served != guest.vm->abi.rx_seq && observer_ != nullptr) {
      observer_->served(guest.index, relative());
    }
    guest.served = guest.vm->abi.rx_seq;
  }
}

// A vCPU begins, or a packet comes.
void Island::happens(std::uint32_t what) {
  Guest& guest = *guests_[what / 2];
  if (what % 2 == 0) {
    arrive(guest);
    return;
  }
  for (const auto& vcpu : guest.vcpus) {
    if (asleep(*vcpu)) {
      vcpu->left = model::forever;
      wake(here_cpu(), *vcpu);
    }
  }
}

}  // namespace spare::sim
