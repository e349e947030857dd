// SPDX-License-Identifier: GPL-2.0-only
//
// Marks, claims and releases on a simulated CPU. As sched_spare/bpf/boost.bpf.h, whose order of steps it keeps.
#include "cpu.hpp"
#include "island.hpp"

namespace spare::sim {

void Cpu::stop_waiting(Server& s, Time now) {
  if (spare_edf_has(&waiting_, s.s.slot)) {
    s.use.waited_ns += now - s.waits_since;
    spare_edf_del(&waiting_, s.s.slot);
  }
}

void Cpu::lend(Server& v, Server& s, Time now) {
  v.s.borrower = static_cast<__u16>(s.s.slot);
  s.s.lender = static_cast<__u16>(v.s.slot);
  s.use.granted++;
  v.use.granted++;
  v.held_since = now;
  stop_waiting(s, now);
  server_wake(v, now);
}

void Cpu::count_denied(Server& s, Time now) {
  s.use.denied++;
  if (observer_ != nullptr) {
    observer_->denied(s, now);
  }
}

// The pool gives nothing and nobody waits: the packet is left to the VM's own budget.
void Cpu::boost_deny(Server& s, Time now) {
  s.s.rx_denied = s.vm->abi.rx_seq;
  s.s.svc_pending = 0;
  s.s.owed_ns = 0;
  spare_mark_clear(&s.s.mark);
  count_denied(s, now);
}

// rest: only what first service has left of a grant; where no provider is free, that is no loss and not counted.
bool Cpu::boost_claim(Server& s, bool rest, Time now) {
  Server* free = nullptr;
  Time least = 0;
  for (int i = 0; i < SPARE_USE_MAX && s.s.use[i] != SPARE_NO_SLOT; i++) {
    Server& v = *servers_[s.s.use[i]];
    if (v.s.borrower != SPARE_NO_SLOT) {
      continue;
    }
    const Time delay = spare_pool_delay(&v.s.cbs, now);
    if (free == nullptr || delay < least) {
      free = &v;
      least = delay;
    }
  }
  const bool waits = spare_edf_has(&waiting_, s.s.slot) != 0;
  const auto answer = spare_pool_ask(free != nullptr, (s.vm->abi.flags & SPARE_VM_NOWAIT) != 0);
  if (!waits && (!rest || answer == SPARE_POOL_LENT)) {
    s.use.asked++;
  }
  if (answer == SPARE_POOL_LENT) {
    lend(*free, s, now);
    return true;
  }
  if (rest) {
    return false;
  }
  if (!waits) {
    s.use.blocked++;
    if (observer_ != nullptr) {
      observer_->blocked(s, now);
    }
  }
  if (answer == SPARE_POOL_LOST) {
    boost_deny(s, now);
  } else if (!waits) {
    s.waits_since = now;
    spare_edf_put(&waiting_, s.s.slot, s.s.mark.since_ns);
  }
  return false;
}

void Cpu::boost_release(Server& s, Time now) {
  stop_waiting(s, now);
  Server* v = at(s.s.lender);
  if (v == nullptr) {
    return;
  }
  s.s.lender = SPARE_NO_SLOT;
  v->s.borrower = SPARE_NO_SLOT;
  v->use.held_ns += now - v->held_since;
  s.use.held_ns += now - v->held_since;
  if (spare_edf_has(&ready_, v->s.slot) && !queued(*v)) {
    server_inactive(*v, now);
  }
  const auto uses = [&](const Server& w) {
    return std::find(std::begin(w.s.use), std::end(w.s.use), v->s.slot) != std::end(w.s.use);
  };
  Server* best = nullptr;
  __u64 best_key = 0;
  for (unsigned i = 1; i <= waiting_.n; i++) {
    const spare_edf_node& node = waiting_.node[i];
    if ((best == nullptr || spare_before(node.key, best_key)) && uses(*servers_[node.slot])) {
      best = servers_[node.slot].get();
      best_key = node.key;
    }
  }
  if (best != nullptr) {
    lend(*v, *best, now);
    resched_ = true;
  }
}

// Borrowed time (SPARE-6). Whether s may borrow on.
bool Cpu::boost_charge(Server& s, Server& by, Time delta, Time now) {
  const bool more = spare_may_borrow(&s.vm->abi, &s.s, delta, now) != 0;
  by.use.lent_ns += delta;
  s.use.boost_ns += delta;
  s.s.mark.used_ns += delta;
  if ((s.vm->abi.flags & SPARE_VM_PAYBACK) != 0) {
    s.s.debt_ns += delta;
  }
  return more;
}

// The packet was picked up shortly before the budget ended: a free provider lends the rest of its grant.
void Cpu::boost_rest(Server& s, Time now) {
  spare_vm& vm = s.vm->abi;
  spare_mark_resume(&s.s.mark, now, vm.grant_ns, s.s.owed_ns);
  s.s.owed_ns = 0;
  if (!spare_may_borrow(&vm, &s.s, 0, now) || !boost_claim(s, true, now)) {
    spare_mark_clear(&s.s.mark);
  }
}

void Cpu::boost_check(Server& s, Time now) {
  if (!throttled(s) || s.s.use[0] == SPARE_NO_SLOT) {
    return;
  }
  spare_vm& vm = s.vm->abi;
  const bool waits = spare_pool_due(vm.rx_seq, s.s.rx_served, s.s.rx_denied);
  if (waits) {
    spare_mark_arrive(&s.s.mark, vm.rx_ns);
  }
  if (waits && s.thread[net_thread].state == Thread::State::queued) {
    spare_mark_wake(&s.s.mark, vm.rx_ns);
  } else if (s.s.svc_pending != 0 && !spare_mark_eligible(&s.s.mark)) {
    spare_mark_wake(&s.s.mark, now);
    spare_mark_serve(&s.s.mark);
  } else if (s.s.owed_ns != 0 && !waits && !spare_mark_eligible(&s.s.mark)) {
    boost_rest(s, now);
    return;
  }
  if (!spare_mark_eligible(&s.s.mark) || !spare_may_borrow(&vm, &s.s, 0, now)) {
    return;
  }
  if (s.s.lender == SPARE_NO_SLOT) {
    boost_claim(s, false, now);
    return;
  }
  Server& v = *servers_[s.s.lender];
  if (v.s.state == SPARE_INACTIVE) {
    server_wake(v, now);
  }
}

void Cpu::boost_end(Server& s, Time now) {
  if (s.s.mark.phase == SPARE_MARK_WOKEN) {
    boost_deny(s, now);
  } else if (s.s.svc_pending != 0 && spare_pool_denied_half(s.s.rx_served, s.s.rx_denied)) {
    s.s.rx_denied = s.s.rx_served;
    count_denied(s, now);
  }
  spare_mark_clear(&s.s.mark);
  s.s.svc_pending = 0;
  s.s.owed_ns = 0;
  boost_release(s, now);
  boost_check(s, now);
}

// The server has budget of its own: its mark ends, unless the packet has a provider and awaits first service (SPARE-4).
void Cpu::boost_settle(Server& s, Time now) {
  if (throttled(s) || s.s.mark.phase == SPARE_UNMARKED ||
      spare_mark_outlasts(&s.s.mark, s.thread[net_thread].state == Thread::State::queued, s.s.svc_pending != 0, s.s.lender != SPARE_NO_SLOT)) {
    return;
  }
  spare_mark_clear(&s.s.mark);
  boost_release(s, now);
}

// No thread of s runs or waits any more (task.bpf.h).
void Cpu::server_asleep(Server& s, Time now) {
  if (queued(s)) {
    return;
  }
  if (!throttled(s)) {
    spare_mark_clear(&s.s.mark);
  }
  if (s.s.mark.phase == SPARE_UNMARKED || s.s.mark.phase == SPARE_MARK_SERVED) {
    boost_release(s, now);
  }
  if (spare_edf_has(&ready_, s.s.slot)) {
    server_inactive(s, now);
  }
}

void Cpu::boost_replenished(Server& s, Time now) {
  const bool lent = s.s.lender != SPARE_NO_SLOT;
  s.s.owed_ns = 0;
  if (s.s.mark.phase == SPARE_UNMARKED) {
    return;
  }
  if (spare_pool_denied(&s.s.mark, lent)) {
    s.s.rx_denied = s.vm->abi.rx_seq;
    count_denied(s, now);
  } else if (s.s.mark.phase == SPARE_MARK_ARRIVED && s.s.use[0] != SPARE_NO_SLOT &&
             now - s.s.mark.since_ns >= servers_[s.s.use[0]]->s.cbs.period_ns) {
    s.use.expired++;
    s.s.rx_served = s.vm->abi.rx_seq;
  }
  boost_settle(s, now);
}

// The network thread starts to run: first service of every packet seen so far (SPARE-4).
void Cpu::first_service(Server& s, Time now) {
  spare_vm& vm = s.vm->abi;
  if (s.s.mark.phase == SPARE_MARK_ARRIVED || s.s.mark.phase == SPARE_MARK_WOKEN) {
    spare_mark_serve(&s.s.mark);
  }
  if (vm.rx_seq == s.s.rx_served) {
    return;
  }
  if (observer_ != nullptr) {
    observer_->served(s, now);
  }
  s.s.rx_served = vm.rx_seq;
  s.s.svc_pending = 1;
  s.s.owed_ns = vm.grant_ns;
  boost_settle(s, now);
  if (vm.nr_throttled > (throttled(s) ? 1U : 0U) || (vm.flags & SPARE_VM_HASTEN) != 0) {
    service_elsewhere(s, now);
  }
}

// A vCPU that the network thread kicked may wait on another CPU, in a THROTTLED server that may borrow or in one that may
// bring its deadline nearer (SPARE-2).
void Cpu::service_elsewhere(Server& s, Time now) {
  for (const auto& [cpu, slot] : s.vm->places) {
    Cpu& other = island_->cpu(cpu);
    if (&other == this) {
      continue;
    }
    Server& o = other.server(slot);
    if (o.s.use[0] == SPARE_NO_SLOT) {
      continue;
    }
    if (throttled(o) || (o.s.state == SPARE_READY && other.server_may_hasten(o, now))) {
      o.s.rx_served = s.vm->abi.rx_seq;
      other.poke(slot, now, SPARE_PEND_SERVICE);
    }
  }
}

}  // namespace spare::sim
