// SPDX-License-Identifier: GPL-2.0-only
//
// A simulated CPU's servers: states, budgets and the account. As sched_spare/bpf/cpu.bpf.h and account.bpf.h.
#include "cpu.hpp"

namespace spare::sim {

void Cpu::server_ready(Server& s) {
  s.s.state = SPARE_READY;
  spare_edf_put(&ready_, s.s.slot, deadline(s));
}

void Cpu::missed(Server& s, Time now) {
  s.use.misses++;
  if (observer_ != nullptr) {
    observer_->missed(s, now);
  }
}

void Cpu::server_inactive(Server& s, Time now) {
  if (s.s.cbs.q_ns > 0 && spare_before(s.s.cbs.d_ns, now)) {
    missed(s, now);
  }
  s.s.far.left_ns = 0;
  s.s.state = SPARE_INACTIVE;
  spare_edf_del(&ready_, s.s.slot);
}

void Cpu::server_throttle(Server& s, Time now) {
  const Time over = s.s.cbs.q_ns < 0 ? static_cast<Time>(-s.s.cbs.q_ns) : 0;
  spare_edf_put(&throttled_, s.s.slot, s.s.cbs.d_ns);
  if (throttled(s)) {
    return;
  }
  if (spare_before(s.s.cbs.d_ns + over, now)) {
    missed(s, now);
  }
  s.use.overrun_max_ns = std::max(s.use.overrun_max_ns, over);
  s.s.far.left_ns = 0;
  spare_edf_del(&ready_, s.s.slot);
  s.s.state = SPARE_THROTTLED;
  if (s.vm != nullptr) {
    s.vm->abi.nr_throttled++;
  }
}

void Cpu::server_unthrottle(Server& s, Time) {
  spare_edf_del(&throttled_, s.s.slot);
  s.s.state = SPARE_INACTIVE;
  if (s.vm != nullptr) {
    s.vm->abi.nr_throttled--;
  }
}

bool Cpu::server_pay_debt(Server& s, Time now) {
  return s.s.debt_ns != 0 && spare_cbs_settle(&s.s.cbs, std::exchange(s.s.debt_ns, 0), now) != 0;
}

void Cpu::end_period(Server& s) {
  s.use.periods++;
  s.use.use_max_ns = std::max(s.use.use_max_ns, s.period_used);
  s.period_used = 0;
}

void Cpu::server_wake(Server& s, Time now) {
  if (s.s.state != SPARE_INACTIVE) {
    return;
  }
  const Time before = s.s.cbs.d_ns;
  server_pay_debt(s, now);
  const bool may_run = spare_cbs_wake(&s.s.cbs, now) != 0;
  if (s.s.cbs.d_ns != before) {
    end_period(s);
  }
  if (may_run) {
    server_ready(s);
  } else {
    server_throttle(s, now);
  }
}

// What the thread that runs got done.
void Cpu::work(Time delta) {
  if (cur_thread_ == net_thread) {
    Time& left = cur_->vm->net_left;
    left -= std::min<Time>(left, delta);
  } else {
    cur_->vcpu_left -= std::min(cur_->vcpu_left, delta);
  }
}

// Charges the current run up to now. True when something ended that a decision must follow.
bool Cpu::charge(Time now) {
  if (cur_ == nullptr || now < stamp_) {
    return false;
  }
  const Time delta = now - stamp_;
  const Time from = stamp_;
  Server &by = *by_, &s = *cur_;
  stamp_ = now;
  if (cur_runs_) {
    work(delta);
  }
  by.use.used_ns += delta;
  by.period_used += delta;
  run_ns_ += delta;
  if (observer_ != nullptr && delta != 0) {
    observer_->ran(number_, by, s, cur_thread_, from, now);
  }
  if (server_pay_debt(by, now) && spare_edf_has(&ready_, by.s.slot)) {
    spare_edf_put(&ready_, by.s.slot, spare_deadline(&by.s.far, &by.s.cbs));
  }
  const bool exhausted = spare_cbs_charge(&by.s.cbs, delta);
  if (exhausted) {
    server_throttle(by, now);
  } else if (spare_far_charge(&by.s.far, delta) && spare_edf_has(&ready_, by.s.slot)) {
    spare_edf_put(&ready_, by.s.slot, by.s.cbs.d_ns);
    resched_ = true;
  }
  if (cur_thread_ == vcpu_thread) {
    s.s.owed_ns = spare_owed_left(s.s.owed_ns, delta);
    if (run_ns_ >= SPARE_SERVICE_NS) {
      s.s.svc_pending = 0;
    }
  }
  if (&by == &s) {
    if (exhausted) {
      boost_check(s, now);
    } else {
      boost_settle(s, now);
    }
    return exhausted;
  }
  const spare_vm& vm = s.vm->abi;
  if (!boost_charge(s, by, delta, now) || spare_mark_charge(&s.s.mark, vm.grant_ns, vm.chances)) {
    boost_end(s, now);
    return true;
  }
  boost_settle(s, now);
  return exhausted;
}

// The switch away from `by_` is its own (account.bpf.h, charge_switch).
void Cpu::charge_switch(Time now, Time begin) {
  if (by_ == nullptr || begin == now) {
    return;
  }
  Server& by = *by_;
  by.use.used_ns += begin - now;
  by.period_used += begin - now;
  if (left_of_ != nullptr && left_of_ != &by) {
    boost_charge(*left_of_, by, begin - now, begin);
  }
  if (observer_ != nullptr) {
    observer_->ran(number_, by, by, -1, now, begin);
  }
  if (spare_cbs_charge(&by.s.cbs, begin - now) && !throttled(by)) {
    server_throttle(by, begin);
  }
}

void Cpu::replenish(Time now) {
  __u64 key = 0;
  for (;;) {
    const std::uint32_t slot = spare_edf_top(&throttled_, &key);
    if (slot == SPARE_NO_SLOT || spare_before(now, key)) {
      return;
    }
    Server& s = *servers_[slot];
    const bool paid = server_pay_debt(s, now);
    end_period(s);
    if (paid ? s.s.cbs.q_ns <= 0 : !spare_cbs_replenish(&s.s.cbs, now)) {
      spare_edf_put(&throttled_, slot, s.s.cbs.d_ns);
      if (s.s.mark.phase != SPARE_UNMARKED) {
        boost_check(s, now);
      }
      continue;
    }
    server_unthrottle(s, now);
    Server* b = at(s.s.borrower);
    if (cur_ == &s || queued(s) || (b != nullptr && (cur_ == b || queued(*b)))) {
      server_ready(s);
    }
    boost_replenished(s, now);
  }
}

// The next instant at which something happens by itself (account.bpf.h, arm_timer).
Time Cpu::timer() const {
  Time when = throttled_.n != 0 ? throttled_.node[1].key : never;
  if (cur_ == nullptr) {
    return when;
  }
  const Server &by = *by_, &s = *cur_;
  when = std::min<Time>(when, stamp_ + (by.s.cbs.q_ns > 0 ? static_cast<Time>(by.s.cbs.q_ns) : 0));
  if (&by != &s) {
    when = std::min<Time>(when, stamp_ + spare_borrow_left(&s.vm->abi, &s.s, SPARE_PERIOD_MAX_US * 1000ULL));
    if (s.s.mark.phase == SPARE_MARK_SERVED) {
      when = std::min<Time>(when, stamp_ + spare_mark_left(&s.s.mark, s.vm->abi.grant_ns));
    }
  }
  if (by.s.far.left_ns > 0) {
    when = std::min<Time>(when, stamp_ + static_cast<Time>(by.s.far.left_ns));
  }
  if (queued(s)) {
    when = std::min<Time>(when, std::max(turn_end_, stamp_));
  }
  return when;
}

// A packet waits for first service, by the network thread or by the vCPU that this has kicked.
bool Cpu::server_waits(const Server& s) const {
  return s.vm->abi.rx_seq != s.s.rx_served || s.s.svc_pending != 0;
}

// The deadline is far enough to bring a chunk nearer (SPARE-7).
bool Cpu::server_may_hasten(const Server& s, Time now) const {
  if ((s.vm->abi.flags & SPARE_VM_HASTEN) == 0 || s.s.use[0] == SPARE_NO_SLOT) {
    return false;
  }
  return spare_far(&s.s.cbs, s.s.far.last_ns, servers_[s.s.use[0]]->s.cbs.period_ns, now) != 0;
}

void Cpu::server_hasten(Server& s, Time now) {
  if ((s.vm->abi.flags & SPARE_VM_HASTEN) == 0 || s.s.use[0] == SPARE_NO_SLOT || !spare_edf_has(&ready_, s.s.slot)) {
    return;
  }
  if (spare_far_begin(&s.s.far, &s.s.cbs, servers_[s.s.use[0]]->s.cbs.period_ns, now)) {
    s.use.hastened++;
    spare_edf_put(&ready_, s.s.slot, s.s.far.d_ns);
  }
}

}  // namespace spare::sim
