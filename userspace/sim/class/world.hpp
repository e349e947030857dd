// SPDX-License-Identifier: GPL-2.0-only
//
// What a host is made of and what happens to it, drawn at random, and what must hold whatever happens.
#pragma once

#include <unordered_map>

#include "module.hpp"

namespace spare::model {

// What this seed's host has.
struct Mix {
  bool churn, affinity, realtime, hotplug, strays, crowd, providers, limits, moves, pinning, kernel;
  bool calm;      // little happens, and so much time passes
  bool alone;     // no VM at first
  bool lives;     // VMs end, others begin
  bool groups;    // the host's cgroups come, go and change
  bool reload;    // the class is replaced
  bool bypass;    // and put aside: the machine sleeps
  bool deadline;  // SCHED_DEADLINE threads are admitted
  bool hog;       // a real-time thread computes all the time
  bool queues;    // the stock of queues is small
  bool quiet;     // little of the host's own runs, and nobody forks
  bool softirqs;  // interrupt what runs
  bool costs;     // the meter sees what VMs cost beside their threads
  bool guards;    // what network work for VMs may use is limited
};

class World : public Kernel {
 public:
  World(Draw draw, unsigned cpus);
  ~World() override;

  // So many events. Throws Violation.
  void run(std::uint64_t events);
  // What has happened, in a line: what a seed covers.
  void print_summary() const;

 protected:
  void work_done(Task& p) override;
  void elsewhere(Cpu& unlocked, Task& wanted) override;
  void switched(Cpu& c, Task& prev, Task& next) override;
  void softirq_took(Cpu& c, Time length) override;
  void gone(Task& p) override;
  void call_ends() override;
  void describe() override;

 private:
  // A CPU since when a server has been ready there, and for how long kernel threads have run since.
  struct Busy {
    Time since = 0, ran = 0, seen = 0;
    bool runs = false, free = true;
  };
  // What the servers of a CPU shall have been charged: while one of them pays, without what goes before the class's threads.
  struct Paid {
    bool pays = false;
    Time at = 0, above = 0, due = 0;
    u64 used = 0;         // and what they had been, when nothing was due
    unsigned changes = 0; // of who pays since, and for each look that is nobody's ten
    u64 next_look = 0;
    bool unknown = false; // the class was not asked
  };
  enum class Hotplug : std::uint8_t { on, leaving, left, off, coming };

  Task& make(Role role, const char* name, Vm* vm, cpumask mask);
  void start(const Task& p, Time within);
  Group& make_group();
  Group* any_group();
  void draw_files(Group& g);
  void change_groups();
  void make_threads(Vm& vm);
  Vm* make_vm(bool provider);
  Reservation draw_reservation(bool provider);
  std::uint64_t draw_cpus(unsigned most);
  void draw_policy(Vm& vm);
  void draw_use(Vm& vm);
  Vm* any_vm(bool provider);
  Task* any_task();
  int any_cpu();  // one whose interrupts are on
  std::uint64_t all() const { return (1ULL << cpus()) - 1; }

  void act();
  void act_soon();
  void packet();
  void cost();
  void reconfigure();
  void set(Vm& vm, const Config& config);
  void queues();
  void kill(Vm& vm);
  void remove_when_empty(Vm& vm);
  void lives();
  std::vector<Task*> all_tasks();
  void class_ends();
  void bypass_begins();
  void hotplug();
  void hotplug_step(Task& p);
  void sleep(Task& p, Time length);
  Time draw_work(const Task& p);
  void changed(Vm& vm);
  void changed(task_group* g);
  void account(Task& p);
  void changed_all();

  // check.cpp
  bool is_taken(const Cpu& c) const;
  void check_cpu(int cpu);
  void check_kthreads(Cpu& c);
  void check_paid(int cpu);
  void check_all();
  void check_task(Task& p);
  void check_siblings(Task& p, const Server& s);
  void check_idle(Cpu& c, Task& p);
  void check_parked(Cpu& c, Task& p, const Vm& vm, Time due);
  void check_use(Vm& vm);
  void check_debt(Vm& vm);
  void check_period(Server& s);
  void check_guard(Vm& vm);
  void check_group(Group& g);
  void check_loan(Server& s);
  const Server* free_provider(const Server& s);
  void expect_service(Task& p, const Server& s);
  void network_runs(Cpu& c, Task& p);
  void expect_loan(const Server& s);

  Module module_{*this};
  Mix mix_{};
  std::unordered_map<int, std::unique_ptr<Task>> tasks_;
  std::vector<int> pids_;
  Group root_group_{};
  std::vector<std::unique_ptr<Group>> groups_;
  u64 next_serial_ = 1'000'000;
  bool bypassed_ = false;
  Time bypass_next_ = 0;
  std::vector<Hotplug> hotplug_;
  std::vector<Task*> hotplug_task_;
  std::vector<Time> hotplug_since_;
  std::vector<Busy> busy_;
  std::vector<Paid> paid_;
  int next_pid_ = 2000;
  unsigned nested_ = 0;
  Time checked_ = 0;
  unsigned long long promised_ = 0;  // packets that shall have first service within a provider's period
};

}  // namespace spare::model
