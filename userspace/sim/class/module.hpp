// SPDX-License-Identifier: GPL-2.0-only
//
// A model of sched_spare.ko: VMs and servers as config.c, server.c and use.c bring them about, and the kfuncs of kfuncs.c.
#pragma once

#include <bitset>
#include <list>
#include <memory>
#include <vector>

#include <sched_spare/abi.h>
#include <sched_spare/debt.h>

#include "kernel.hpp"

namespace spare::model {

struct Server {
  spare_server abi{};
  Vm* vm = nullptr;
  unsigned cpu = 0, slot = 0;
  u64 had_ns = 0;
  bool withdrawn = false, told = false, released = false;
  bool seen = false;  // Module::Watch
  struct {
    u64 granted = 0;
    Time marked = 0, seen = 0, boost = 0;
  } loan{};  // its last one, for the invariants: when it was first seen, and what had been borrowed before
  struct {
    Time since = 0;
    u64 used = 0;
  } unused{};  // and since when it has had budget, nothing to do, and a thread to wait elsewhere
  struct {
    u64 cfg = 0, d = 0, settled = 0;
    bool owes = false;
  } period{};  // its last one, as World::check_period() saw it
};

struct Reservation {
  std::uint32_t runtime_us = 0, period_us = 0;
};

struct Config {
  Reservation reservation;
  bool provide = false;
  u64 cpus = 0;
};

struct Vm {
  spare_vm abi{};
  std::uint16_t slot[cpus_max];
  Config config;
  std::vector<Vm*> uses;
  unsigned servers = 0;  // published and not dying
  Group group{};         // its cgroup
  spare_share share{};   // debt.c
  u64 cost_ns = 0;       // what the meter has seen of it
  u64 settled_ns = 0;    // paid or waived by servers that are gone
  struct {
    Time begun = 0, done = 0, unused = 0, valve = 0;
    unsigned servers = 0;
  } long_run{};  // World::check_debt()
  struct {
    Time begun = 0;
    u64 used = 0;
  } network{};  // World::check_guard()
  bool ends = false, removed = false;  // its threads are killed, and then it is removed
  // For the invariants (world.cpp).
  Time since = 0;        // nothing of it has changed
  Time ran = 0;          // CPU time of its threads of the class, as sched_switch sees it
  Time ran_realtime = 0;
  Time ran_then = 0, boost_then = 0, valve_then = 0, checked = 0;
  Time runtime_most = 0;
  std::uint64_t rx_seen = 0;  // packets that were there when a network thread of it last began to run

  bool placed() const { return servers; }
};

class Module {
 public:
  explicit Module(Kernel& k);

  Server* at(int cpu, unsigned slot) const;
  const std::list<std::unique_ptr<Vm>>& vms() const { return vms_; }
  // Perhaps one that was removed is another one from now on.
  Vm& make_vm();
  // Whether it was done: admission, providers in use, slots and queues may refuse.
  bool set(Vm& vm, const Config& config);
  bool use(Vm& vm, const std::vector<Vm*>& providers);
  void policy(Vm& vm, Time grant_ns, unsigned chances, Time window_ns, Time gain_ns, unsigned flags);
  void remove(Vm& vm);  // nobody is in its cgroup any more
  // server.c: spare_server_attach(), spare_server_detach()
  void attach();
  void detach();
  Server* by_queue(std::uint64_t id) const;
  bool queues_missing() const { return queues_made_ < queues_wanted_; }
  void reap();

  std::vector<const spare_stats*> all_stats() const;
  // Those of vm that the class may know.
  template <class F>
  void each_server(const Vm& vm, F f) const {
    for (const auto& s : servers_)
      if (s->vm == &vm && cpu_[s->cpu].slot[s->slot] == s.get()) f(*s);
  }
  u64 used(int cpu) const;  // what all servers that it has and had were charged
  void packet(Vm& vm, unsigned count = 1);
  void switched(Cpu& c, Task& prev, Task& next);
  // A softirq has had the CPU for so long.
  void softirq(Cpu& c, Time length);

  // kfuncs
  static Vm* effective(const Task& p) { return p.vm && p.vm->placed() ? p.vm : nullptr; }
  bool serves(int cpu) const { return valid(cpu) && kernel_.cpu(cpu).active; }
  bool valid(int cpu) const { return cpu >= 0 && static_cast<unsigned>(cpu) < kernel_.cpus(); }
  int next_cpu(const Vm& vm, unsigned from) const;
  void attend(int cpu, unsigned slot);
  unsigned attention(int cpu);
  bool wakes(const Task& p);
  void changes(Task& p, bool goes);
  Time above(int cpu, Time now) const;
  void released(Server& s);
  unsigned queues_ahead_ = 64, queues_wanted_ = queues_ahead_, queues_made_ = 0;
  std::uint32_t limit_ppm = 900000;
  // Who wants to know what the class does looks at these after each callback, and empties them.
  struct Watch {
    std::vector<Server*> seen;  // servers that it has looked at, once each
    virtual void granted(Server& s, Server& provider) = 0;
   protected:
    ~Watch() = default;
  };
  Watch* watch = nullptr;

 private:
  struct PerCpu {
    Server* slot[SPARE_SLOTS] = {};
    std::bitset<SPARE_SLOTS> used, attention;
    Task* realtime = nullptr;  // runs (realtime.c)
    Time realtime_used = 0, realtime_since = 0, softirq = 0, above = 0;
    u64 gone_ns = 0;  // used by servers that are gone
    Vm* arrival = nullptr;  // hook.c
    Task* arrival_in = nullptr;
    Time arrival_ns = 0;
  };
  std::uint32_t others_ppm(const Vm& vm, unsigned cpu) const;
  void apply(Vm& vm, const Config& config);
  void resolve(Vm& vm);
  void withdraw(Server& s);
  void charge(Task& p, int cpu, Time ns);
  void realtime(PerCpu& c, Task* p);
  bool reaches(const Vm& from, const Vm& to) const;
  template <class F>
  void after_grace(F f) {
    kernel_.at(kernel_.now() + kernel_.random().in(200 * us, 8 * ms), f);
  }

  Kernel& kernel_;
  std::vector<PerCpu> cpu_;
  std::list<std::unique_ptr<Vm>> vms_;
  std::list<std::unique_ptr<Server>> servers_;
  unsigned live_ = 0;
  bool attached_ = false;
  std::uint64_t last_id_ = 0;  // of a server
  std::uint64_t next_id_ = 2;
};

extern constinit thread_local Module* module;

}  // namespace spare::model
