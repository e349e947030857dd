// SPDX-License-Identifier: GPL-2.0-only
//
// A simulated CPU: threads, packets and the decision who runs. As sched_spare/bpf/{sched_spare.bpf.c,enqueue,dispatch,run.bpf.h}.
#include "cpu.hpp"

#include "island.hpp"

namespace spare::sim {
namespace {

constexpr std::size_t tap_limit = 500;    // packets: the tap's queue
constexpr std::size_t ring_limit = 1024;  // packets: the guest's
constexpr std::size_t host_limit = 1000;  // packets: net.core.netdev_max_backlog

Server make_server(unsigned cpu, std::size_t slot, const Reservation& reservation) {
  Server server;
  spare_server& s = server.s;
  s.cpu = cpu;
  s.slot = static_cast<__u32>(slot);
  s.lender = s.borrower = SPARE_NO_SLOT;
  s.far.last_ns = 0 - second;
  std::fill(std::begin(s.use), std::end(s.use), static_cast<__u16>(SPARE_NO_SLOT));
  s.cfg = s.cfg_seen = spare_cfg_pack(static_cast<__u32>(reservation.runtime_us), static_cast<__u32>(reservation.period_us));
  spare_cbs_configure(&s.cbs, s.cfg, 1, 0);
  return server;
}

}  // namespace

unsigned Cpu::add_provider(const Pool& pool, unsigned index) {
  auto server = std::make_unique<Server>(make_server(number_, servers_.size(), pool.reservation));
  server->owner = index;
  server->s.flags = SPARE_F_PROVIDER;
  servers_.push_back(std::move(server));
  return servers_.back()->s.slot;
}

unsigned Cpu::add_server(VmState& vm, unsigned index, bool home, const std::vector<unsigned>& providers) {
  auto made = std::make_unique<Server>(make_server(number_, servers_.size(), vm.spec->reservation));
  Server& server = *made;
  servers_.push_back(std::move(made));
  server.vm = &vm;
  server.owner = index;
  for (std::size_t i = 0; i < providers.size() && i < SPARE_USE_MAX; i++) {
    server.s.use[i] = static_cast<__u16>(providers[i]);
  }
  if (home) {
    schedule_arrival(server);
  }
  if (vm.spec->burns) {
    spare_edf_put(&starts_, server.s.slot, vm.spec->start_ns);
  }
  return server.s.slot;
}

void Cpu::reset_counts() {
  for (const auto& server : servers_) {
    server->use = Use();
    server->period_used = 0;
  }
}

void Cpu::schedule_arrival(Server& home) {
  const Time next = home.vm->arrivals.next();
  if (next == never) {
    spare_edf_del(&arrivals_, home.s.slot);
  } else {
    spare_edf_put(&arrivals_, home.s.slot, next);
  }
}

int Cpu::head(const Server& s) {
  int best = -1;
  for (int kind = 0; kind < 2; kind++) {
    const Thread& thread = s.thread[kind];
    if (thread.state == Thread::State::queued && (best < 0 || spare_before(thread.key, s.thread[best].key))) {
      best = kind;
    }
  }
  return best;
}

// ---- a thread becomes runnable

bool Cpu::preempts(Server& s, bool front) {
  Time d = deadline(s);
  if (throttled(s)) {
    Server* lender = at(s.s.lender);
    if (lender == nullptr || !spare_edf_has(&ready_, lender->s.slot)) {
      return false;
    }
    d = lender->s.cbs.d_ns;
  }
  if (cur_ == nullptr) {
    return true;
  }
  if (cur_ == &s) {
    return front;
  }
  return spare_before(d, deadline(*by_)) != 0;
}

// Its place in the queue (task.bpf.h, task_place).
void Cpu::place(Server& s, ThreadKind kind, bool wakeup, Time now) {
  Thread& thread = s.thread[kind];
  const bool front = thread.front();
  if (thread.turn_left != 0 && !throttled(s)) {
    return;
  }
  if (thread.turn_left != 0 && kind != net_thread && s.thread[net_thread].state != Thread::State::queued) {
    const int first = head(s);
    thread.key = first >= 0 ? spare_place_stopped(&s.s.cbs, front, s.thread[first].key, now) : spare_place(&s.s.cbs, front, now);
    return;
  }
  thread.turn_left = 0;
  thread.key = throttled(s) && kind == net_thread && wakeup && server_waits(s) ? spare_place_served(&s.s.cbs, now)
                                                                               : spare_place(&s.s.cbs, front, now);
}

void Cpu::enqueue(Server& s, ThreadKind kind, bool wakeup, bool put, Time now) {
  Thread& thread = s.thread[kind];
  if (wakeup) {
    thread.ran = thread.turn_left = 0;
  }
  const bool front = thread.front();
  place(s, kind, wakeup, now);
  thread.state = Thread::State::queued;
  if (s.s.state == SPARE_INACTIVE) {
    server_wake(s, now);
  }
  if (throttled(s)) {
    boost_check(s, now);
  } else if (kind == net_thread && server_waits(s)) {
    server_hasten(s, now);
  }
  if (!put && preempts(s, front)) {
    resched_ = true;
  }
}

void Cpu::wake_thread(Server& s, ThreadKind kind, Time now) {
  if (s.thread[kind].state == Thread::State::asleep) {
    enqueue(s, kind, true, false, now);
  }
}

void Cpu::poke(unsigned slot, Time now, std::uint32_t pending) {
  servers_[slot]->s.pending |= pending;
  attention_.push_back(slot);
  resched_ = true;
  next_ = std::min(next_, now);
  island_->moved(number_);
}

// What others left for this CPU's servers since it last looked.
void Cpu::attend(Time now) {
  for (std::size_t i = 0; i < attention_.size(); i++) {
    Server& s = *servers_[attention_[i]];
    const std::uint32_t want = s.s.pending;
    s.s.pending = 0;
    if ((want & SPARE_PEND_QUEUED) != 0) {
      wake_thread(s, vcpu_thread, now);
    }
    if ((want & SPARE_PEND_SERVICE) != 0 && cur_ != &s) {
      s.s.svc_pending = 1;
      s.s.owed_ns = s.vm->abi.grant_ns;
      if (s.s.mark.phase == SPARE_MARK_WOKEN && s.thread[net_thread].state != Thread::State::queued) {
        spare_mark_serve(&s.s.mark);
      }
    }
    if (throttled(s)) {
      boost_check(s, now);
    } else if (want != 0 && server_waits(s) && (s.thread[net_thread].state == Thread::State::queued || s.s.svc_pending != 0)) {
      server_hasten(s, now);
    }
  }
  attention_.clear();
}

// ---- packets

// The tap's hook, then the host's way to the tap's queue (kmod/hook.c).
void Cpu::packet(Server& home, Time now) {
  VmState& vm = *home.vm;
  Found found = Found::own;
  if (throttled(home)) {
    found = Found::busy;
    for (int i = 0; i < SPARE_USE_MAX && home.s.use[i] != SPARE_NO_SLOT; i++) {
      const spare_server& v = servers_[home.s.use[i]]->s;
      if (v.borrower == SPARE_NO_SLOT && !spare_before(now, v.cbs.d_ns)) {
        found = Found::free;
      }
    }
  }
  const unsigned count = vm.arrivals.count();
  vm.arrivals.pop();
  schedule_arrival(home);
  vm.result.packets += count;
  if (on_the_way_.size() >= host_limit) {
    vm.result.dropped += count;
    return;
  }
  for (unsigned i = 0; i < count; i++) {
    vm.abi.rx_ns = now;
    vm.abi.rx_seq++;
    vm.result.by_found[static_cast<unsigned>(found)]++;
    if (observer_ != nullptr) {
      observer_->came(home, found, now);
    }
    if (!vm.tap.push({now, found}, tap_limit)) {
      vm.result.dropped++;
    }
  }
  if (vm.abi.nr_throttled != 0) {
    for (const auto& [cpu, slot] : vm.places) {
      Cpu& other = island_->cpu(cpu);
      const Server& s = other.server(slot);
      if (throttled(s) && s.s.use[0] != SPARE_NO_SLOT) {
        other.poke(slot, now, 0);
      }
    }
  }
  if (host_.packet_ns == 0) {
    deliver(home, now);
    return;
  }
  /* The host's work stops whoever runs. */
  charge(now);
  busy_until_ = std::max(busy_until_, now) + count * host_.packet_ns;
  stamp_ = std::max(stamp_, busy_until_);
  on_the_way_.emplace_back(busy_until_, home.s.slot);
}

void Cpu::deliver(Server& home, Time now) {
  wake_thread(home, net_thread, now);
}

// The network thread has copied the packet: a vCPU finds it when it next looks.
void Cpu::hand_to_vcpu(Server& s, Time now) {
  VmState& vm = *s.vm;
  const auto [cpu, slot] = vm.places[vm.next_vcpu];
  vm.next_vcpu = (vm.next_vcpu + 1) % static_cast<unsigned>(vm.places.size());
  Cpu& other = island_->cpu(cpu);
  if (!other.server(slot).ring.push(vm.hand, ring_limit)) {
    vm.result.dropped++;
  }
  if (&other != this) {
    other.poke(slot, now, SPARE_PEND_QUEUED);
  } else {
    wake_thread(s, vcpu_thread, now);
  }
}

void Cpu::sleep(Server& s, ThreadKind kind) {
  s.thread[kind].state = Thread::State::asleep;
  cur_runs_ = false;
  resched_ = true;
}

// The network thread runs: what it has done and what comes next.
void Cpu::net_work(Server& s, Time now) {
  VmState& vm = *s.vm;
  while (vm.net_left == 0) {
    if (vm.in_hand) {
      vm.in_hand = false;
      hand_to_vcpu(s, now);
    }
    if (vm.tap.empty()) {
      sleep(s, net_thread);
      return;
    }
    vm.hand = vm.tap.pop();
    vm.in_hand = true;
    vm.net_left = vm.spec->net_ns;
  }
}

void Cpu::vcpu_work(Server& s, Time now) {
  VmState& vm = *s.vm;
  while (s.vcpu_left == 0 && !s.ring.empty()) {
    const Packet packet = s.ring.pop();
    vm.result.seen++;
    vm.result.latency.add(now - packet.arrived);
    island_->latency(packet.found).add(now - packet.arrived);
    if (observer_ != nullptr) {
      observer_->seen(s, packet, now);
    }
    s.vcpu_left = vm.spec->vcpu_ns;
  }
  if (s.vcpu_left == 0 && !vm.spec->burns) {
    sleep(s, vcpu_thread);
  }
}

void Cpu::finish_work(Time now) {
  if (cur_ == nullptr || !cur_runs_ || now < stamp_) {
    return;
  }
  if (cur_thread_ == net_thread) {
    net_work(*cur_, now);
  } else {
    vcpu_work(*cur_, now);
  }
}

// When the thread that runs has done what it has in hand.
Time Cpu::work_end() const {
  if (cur_ == nullptr || !cur_runs_) {
    return never;
  }
  if (cur_thread_ == net_thread) {
    return stamp_ + cur_->vm->net_left;
  }
  if (cur_->vcpu_left != 0) {
    return stamp_ + cur_->vcpu_left;
  }
  return cur_->vm->spec->burns && cur_->ring.empty() ? never : stamp_;
}

// ---- the CPU looks for work

bool Cpu::run_from(Server& s, Server& by, bool prev_here, Time now, Pick& pick) {
  const int first = head(s);
  bool keep = prev_here;
  if (keep && first >= 0) {
    /* CBS-8: a thread that woke goes before one that burns; else turns. */
    keep = spare_before(now, turn_end_) && (spare_before(now, s.thread[first].key) || s.thread[cur_thread_].front());
  }
  if (!keep && first >= 0) {
    pick = {&s, &by, static_cast<ThreadKind>(first), false};
    return true;
  }
  if (!prev_here) {
    return false;
  }
  if (!spare_before(now, turn_end_)) {
    turn_end_ = now + spare_turn_ns(&s.s.cbs, first >= 0 ? 2 : 1);
  }
  if (&by != &s && by_ != &by) {
    s.s.mark.chances++;
  }
  cur_ = &s;
  by_ = &by;
  by.s.state = SPARE_RUNNING;
  pick.kept = true;
  return true;
}

void Cpu::dispatch(Time now) {
  resched_ = false;
  charge(now);
  attend(now);
  replenish(now);
  Pick pick;
  __u64 key = 0;
  for (;;) {
    const std::uint32_t slot = spare_edf_top(&ready_, &key);
    if (slot == SPARE_NO_SLOT) {
      break;
    }
    Server& by = *servers_[slot];
    Server* s = at(by.s.borrower);
    if (s != nullptr && run_from(*s, by, cur_runs_ && cur_ == s, now, pick)) {
      break;
    }
    if (by.vm != nullptr && run_from(by, by, cur_runs_ && cur_ == &by, now, pick)) {
      break;
    }
    server_inactive(by, now);
    if (s != nullptr && s->s.mark.phase == SPARE_MARK_SERVED) {
      boost_release(*s, now);
      boost_settle(*s, now);
    }
  }
  resched_ = false;
  if (pick.kept) {
    return;
  }
  const bool idle = cur_ == nullptr && pick.server == nullptr;
  if (cur_ != nullptr) {
    stopping(cur_runs_, now);
  }
  const Time begin = idle ? now : std::max(now, stamp_) + host_.switch_ns;
  charge_switch(std::max(now, std::min(stamp_, begin)), begin);
  by_ = nullptr;
  if (pick.server != nullptr) {
    running(pick, now, begin);
  }
  /* What was put since the choice may have been lent a provider with an earlier deadline: choose again. */
  const __u32 top = spare_edf_top(&ready_, &key);
  resched_ = by_ == nullptr ? top != SPARE_NO_SLOT : top != by_->s.slot;
}

void Cpu::stopping(bool runnable, Time now) {
  Server& s = *cur_;
  charge(now);
  if (by_->s.state == SPARE_RUNNING) {
    by_->s.state = SPARE_READY;
  }
  if (!runnable && cur_thread_ == vcpu_thread) {
    s.s.svc_pending = 0;
    s.s.owed_ns = 0;
  }
  /* Going to sleep, it has drained what came; a packet of this very instant will wake it again. */
  if (!runnable && cur_thread_ == net_thread && now - s.vm->abi.rx_ns > SPARE_DRAINED_NS) {
    s.s.rx_served = s.vm->abi.rx_seq;
  }
  if (!runnable) {
    server_asleep(s, now);
  }
  s.thread[cur_thread_].ran += now > start_ ? now - start_ : 0;
  s.thread[cur_thread_].turn_left = runnable && now + SPARE_TURN_REST_NS < turn_end_ ? turn_end_ - now : 0;
  const ThreadKind kind = cur_thread_;
  left_of_ = cur_;
  cur_ = nullptr;
  cur_runs_ = false;
  if (runnable) {
    enqueue(s, kind, false, true, now);
  }
}

void Cpu::running(const Pick& pick, Time now, Time begin) {
  Server& s = *pick.server;
  Thread& thread = s.thread[pick.thread];
  thread.state = Thread::State::running;
  cur_ = &s;
  by_ = pick.by;
  cur_thread_ = pick.thread;
  cur_runs_ = true;
  const Time turn = spare_turn_ns(&s.s.cbs, queued(s) ? 2 : 1);
  turn_end_ = thread.turn_left != 0 && thread.turn_left < turn ? spare_turn_resume(begin, thread.turn_left)
                                                               : spare_turn_end(begin, turn, host_.switch_ns);
  thread.turn_left = 0;
  if (by_ != cur_) {
    s.s.mark.chances++;
  }
  if (spare_edf_has(&ready_, by_->s.slot)) {
    by_->s.state = SPARE_RUNNING;
  }
  start_ = stamp_ = begin;
  run_ns_ = 0;
  if (pick.thread == net_thread) {
    first_service(s, now);
  }
}

void Cpu::arm(Time now) {
  timer_ = timer();
  next_ = std::min<Time>({timer_, work_end(), arrivals_.n != 0 ? arrivals_.node[1].key : never,
                          starts_.n != 0 ? starts_.node[1].key : never, on_the_way_.empty() ? never : on_the_way_.front().first});
  if (resched_) {
    next_ = std::min(next_, std::max(stamp_, now));
  }
}

void Cpu::step(Time now) {
  events_++;
  if (charge(now)) {
    resched_ = true;
  }
  finish_work(now);
  __u64 key = 0;
  std::uint32_t slot = 0;
  while ((slot = spare_edf_top(&starts_, &key)) != SPARE_NO_SLOT && key <= now) {
    spare_edf_del(&starts_, slot);
    wake_thread(*servers_[slot], vcpu_thread, now);
  }
  while (!on_the_way_.empty() && on_the_way_.front().first <= now) {
    const unsigned home = on_the_way_.front().second;
    on_the_way_.pop_front();
    deliver(*servers_[home], now);
  }
  while ((slot = spare_edf_top(&arrivals_, &key)) != SPARE_NO_SLOT && key <= now) {
    packet(*servers_[slot], now);
  }
  if (resched_ || now >= timer_) {
    dispatch(now);
  }
  arm(now);
}

}  // namespace spare::sim
