// SPDX-License-Identifier: GPL-2.0-only
#pragma once

#include <deque>
#include <memory>

#include "server.hpp"

namespace spare::sim {

class Island;

// One CPU under the class: sched_spare/bpf with the kernel around it replaced by a model, function for function (the names are
// the class's). Every rule is the pure headers'; what is here says only when each is asked.
//
// What it models: EDF over servers, two threads per server (network thread and vCPU) that share it by CBS-8, marks, claims
// and grants, the cost of a switch. What it leaves out: the kernel's own work but for a fixed time per packet, timers
// that are late, tasks without a reservation (they get what is left and delay nobody).
class Cpu {
 public:
  static constexpr Time never = Arrivals::never;

  Cpu(Island& island, unsigned number, const Host& host, Observer* observer)
      : island_(&island), number_(number), host_(host), observer_(observer) {}

  // Slots are given out in this order; at most SPARE_SLOTS.
  unsigned add_provider(const Pool& pool, unsigned index);
  unsigned add_server(VmState& vm, unsigned index, bool home, const std::vector<unsigned>& providers);

  // When it has something to do by itself.
  [[nodiscard]] Time next() const { return next_; }
  // Does what is due at `now`, which is no later than next() and no earlier than the last call.
  void step(Time now);
  // Another CPU of the VM left something for this server.
  void poke(unsigned slot, Time now, std::uint32_t pending);
  void reset_counts();

  [[nodiscard]] Server& server(unsigned slot) { return *servers_[slot]; }
  [[nodiscard]] std::vector<std::unique_ptr<Server>>& servers() { return servers_; }
  [[nodiscard]] std::uint64_t events() const { return events_; }

 private:
  struct Pick {
    Server* server = nullptr;
    Server* by = nullptr;
    ThreadKind thread = vcpu_thread;
    bool kept = false;
  };

  // server.cpp: CBS-1, CBS-2, CBS-4
  void server_ready(Server& s);
  void missed(Server& s, Time now);
  void server_inactive(Server& s, Time now);
  void server_throttle(Server& s, Time now);
  void server_unthrottle(Server& s, Time now);
  bool server_pay_debt(Server& s, Time now);
  void server_wake(Server& s, Time now);
  void end_period(Server& s);
  bool charge(Time now);
  void charge_switch(Time now, Time begin);
  void work(Time delta);
  void replenish(Time now);
  [[nodiscard]] Time timer() const;
  [[nodiscard]] bool server_waits(const Server& s) const;
  [[nodiscard]] bool server_may_hasten(const Server& s, Time now) const;
  void server_hasten(Server& s, Time now);

  // boost.cpp: SPARE-3 .. SPARE-5
  void lend(Server& v, Server& s, Time now);
  bool boost_claim(Server& s, bool rest, Time now);
  void boost_rest(Server& s, Time now);
  void boost_deny(Server& s, Time now);
  void boost_release(Server& s, Time now);
  void boost_check(Server& s, Time now);
  bool boost_charge(Server& s, Server& by, Time delta, Time now);
  void boost_end(Server& s, Time now);
  void boost_settle(Server& s, Time now);
  void server_asleep(Server& s, Time now);
  void boost_replenished(Server& s, Time now);
  void stop_waiting(Server& s, Time now);
  void count_denied(Server& s, Time now);
  void first_service(Server& s, Time now);
  void service_elsewhere(Server& s, Time now);

  // cpu.cpp: threads, packets, decisions
  void attend(Time now);
  void packet(Server& home, Time now);
  void deliver(Server& home, Time now);
  void wake_thread(Server& s, ThreadKind kind, Time now);
  void place(Server& s, ThreadKind kind, bool wakeup, Time now);
  void enqueue(Server& s, ThreadKind kind, bool wakeup, bool put, Time now);
  [[nodiscard]] bool preempts(Server& s, bool front);
  void finish_work(Time now);
  void net_work(Server& s, Time now);
  void vcpu_work(Server& s, Time now);
  void hand_to_vcpu(Server& s, Time now);
  void sleep(Server& s, ThreadKind kind);
  void dispatch(Time now);
  bool run_from(Server& s, Server& by, bool prev_here, Time now, Pick& pick);
  void stopping(bool runnable, Time now);
  void running(const Pick& pick, Time now, Time begin);
  [[nodiscard]] Time work_end() const;
  void arm(Time now);
  void schedule_arrival(Server& home);

  [[nodiscard]] static bool queued(const Server& s) {
    return s.thread[net_thread].state == Thread::State::queued || s.thread[vcpu_thread].state == Thread::State::queued;
  }
  // The thread that is first in the server's queue; -1: none.
  [[nodiscard]] static int head(const Server& s);
  [[nodiscard]] Time deadline(const Server& s) const { return spare_deadline(&s.s.far, &s.s.cbs); }
  [[nodiscard]] Server* at(std::uint32_t slot) { return slot == SPARE_NO_SLOT ? nullptr : servers_[slot].get(); }
  [[nodiscard]] static bool throttled(const Server& s) { return s.s.state == SPARE_THROTTLED; }

  Island* island_;
  unsigned number_;
  Host host_;
  Observer* observer_;
  std::vector<std::unique_ptr<Server>> servers_;
  spare_edf ready_{}, throttled_{}, waiting_{};
  spare_edf arrivals_{};                              // VMs at home here, by their next packet
  spare_edf starts_{};                                // vCPUs that have yet to begin
  std::deque<std::pair<Time, unsigned>> on_the_way_;  // packets that the host handles: until when, home slot
  std::vector<unsigned> attention_;

  Server* cur_ = nullptr;  // whose thread runs; null: nobody's
  Server* by_ = nullptr;   // who pays
  Server* left_of_ = nullptr;  // whose thread was just stopped
  ThreadKind cur_thread_ = vcpu_thread;
  bool cur_runs_ = false;  // it has not gone to sleep
  Time stamp_ = 0;         // the current run is charged up to here; in the future while a switch lasts
  Time start_ = 0, run_ns_ = 0, turn_end_ = 0, busy_until_ = 0;
  bool resched_ = false;
  Time timer_ = never, next_ = 0;
  std::uint64_t events_ = 0;
};

}  // namespace spare::sim
