// SPDX-License-Identifier: GPL-2.0-only
//
// A model of the kernel's core scheduler and of sched_ext (7.2), for the class itself: CPUs and tasks in discrete virtual time, the callbacks
// in the kernel's order, the kfuncs. One thread; what happens "at once" on another CPU happens where a run-queue lock is let go of
// (Kernel::let_go). Left out: core scheduling, ops.exit_task; between two classes nobody runs in the fair one.
//
// With noise, how long everything takes is random, and what else may happen in a kernel does; without (Exact), nothing takes time but a switch, which
// its CPU alone spends.
#pragma once

#include <array>
#include <cstdarg>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <queue>
#include <string>
#include <unordered_map>
#include <vector>

#include "class.h"
#include "../random.hpp"

namespace spare::model {

using Time = unsigned long long;
constexpr Time us = 1000, ms = 1000 * us, second = 1000 * ms;
constexpr unsigned cpus_max = 64;
constexpr unsigned worker_flags = 0x00004000;                // PF_USER_WORKER
constexpr unsigned kthread_flags = 0x00200000 | 0x04000000;  // PF_KTHREAD, PF_NO_SETAFFINITY
constexpr Time jiffy = 4 * ms, slice_default = 20 * ms;
constexpr std::uint64_t enqueue_restore = 2, enqueue_migrated = 1 << 18;  // ENQUEUE_RESTORE, ENQUEUE_MIGRATED
constexpr u64 dl_whole = 1 << 20;  // BW_UNIT
constexpr Time forever = ~0ULL >> 2;

struct Task;
struct Vm;

// A place in a queue: a task's, or a cursor of who walks through it.
struct Node {
  Node *prev = nullptr, *next = nullptr;
  Task* task = nullptr;
};

enum class Policy : std::uint8_t { ext, realtime, idle };

// What it does when it runs; the workload's (world.hpp).
enum class Role : std::uint8_t { idle, stopper, hotplug, burner, sleeper, vcpu, net, kthread, realtime, hog };

struct Task : task_struct {
  ~Task();

  Policy policy = Policy::ext;
  Role role = Role::burner;
  cpumask mask{}, pinned{};  // cpus_ptr is one of them
  Node node;
  dsq* in = nullptr;
  std::uint64_t queued_as = 0;       // scx.dsq_seq
  bool on_rq = false, dead = false;
  bool child = false;                // it will end,
  bool killed = false;               // and when its work is done
  bool moving = false;               // between two run queues
  bool queueing = false;             // ops_state is not SCX_OPSS_NONE
  bool reset_runnable = true;
  std::uint64_t direct = 0, direct_flags = 0;  // scx.ddsp_*; 0: none
  bool direct_by_vtime = false;
  Time left = 0;                     // to run before it sleeps
  Time ran = 0;                      // CPU time, as sched_switch sees it,
  Time accounted = 0;                // and its VM's up to here
  Time woken = 0;                    // when it last became runnable, or stopped
  Time queued_at = 0;                // and came into the queue where it is
  std::uint32_t sleeps = 0;          // wake-up events of an earlier sleep are void
  Vm* vm = nullptr;                  // cgroup with spare.* files
  Time net_ran = 0;                  // a network thread: when it last began to run
  std::uint64_t drained = 0;         // and the last packet that it has seen
};

// A cgroup as the scheduler sees it, and for the invariants (world.cpp) what its tasks have run since nothing of it has changed.
struct Group : task_group {
  Time since = 0, ran = 0, ran_then = 0, checked = 0;
};

// The CPU's run queue, its current task, and what sched_spare.ko has for each CPU (module.cpp).
struct Cpu : rq {
  void set_curr(Task& p) { rq::curr = curr = &p; }

  int id = 0;
  Task idle, stopper;
  Task* curr = nullptr;
  Task* current = nullptr;                      // prev until the switch is done
  std::unique_ptr<dsq> local;
  std::deque<Task*> realtime;                   // runnable, the stopper first
  std::deque<std::function<void()>> stop_work;
  unsigned queued = 0;                          // tasks of the class
  bool active = true;      // cpu_active(); `online` is sched_ext's, SCX_RQ_ONLINE
  bool dead = false;       // not cpu_online()
  bool busy = false;       // in schedule(): its interrupts are off
  bool in_balance = false;
  bool bypass = false;     // SCX_RQ_BYPASSING: the class is not asked
  bool need_resched = false;
  bool idle_bit = false;   // sched_ext's own idle mask
  bool skip_clock = false; // RQCF_REQ_SKIP: the next schedule() does not read the clock
  Time clock = 0;
  Time switched = 0;       // last sched_switch
  Time run_from = 0;       // the current task does its own work since
  std::uint32_t runs = 0;  // work-done events of an earlier run are void
  Time idle_since = 0;
  Time looked = 0;         // last ops.dispatch
  Time realtime_at = 0;    // when a higher class last had it
  Time switching = 0;      // until when it switches, its interrupts off (Exact)
};

struct Violation {
  std::string what;
};

struct Exact {
  Time switch_ns;  // from a thread of the class, or idle, to another
};

// Where chance comes from: a fuzzer's input as far as it goes, then a stream of its own.
class Draw {
 public:
  explicit Draw(std::uint64_t seed) : random_(seed, 0) {}
  Draw(const std::uint8_t* data, std::size_t size) : random_(size, 1), data_(data), left_(size) {}

  std::uint64_t next() {
    if (left_ < 4) return random_.next();
    std::uint64_t v = 0;
    for (int i = 0; i < 4; i++, left_--) v = v << 8 | *data_++;
    return v;
  }
  // lo .. hi, both possible. Of an input one byte, or two where more are possible: then not each value is.
  std::uint64_t in(std::uint64_t lo, std::uint64_t hi) {
    const std::uint64_t range = hi - lo + 1;
    if (left_ && range <= 256) return lo + (left_--, *data_++) % range;
    if (left_ < 2) return lo + next() % range;
    const std::uint64_t v = std::uint64_t{data_[0]} << 8 | data_[1];
    data_ += 2, left_ -= 2;
    return lo + (v * range >> 16);
  }
  bool fed() const { return left_ != 0; }

 private:
  sim::Random random_;
  const std::uint8_t* data_ = nullptr;
  std::size_t left_ = 0;
};

class Kernel {
 public:
  Kernel(Draw draw, unsigned cpus) : Kernel(draw, cpus, nullptr) {}
  Kernel(Exact exact, unsigned cpus) : Kernel(Draw(0), cpus, &exact) {}
  virtual ~Kernel();

  Time now() const { return now_; }
  unsigned cpus() const { return static_cast<unsigned>(cpu_.size()); }
  Cpu& cpu(int i) { return cpu_[static_cast<unsigned>(i)]; }
  Cpu& here() { return cpu(here_); }
  int here_cpu() const { return here_; }
  Cpu& cpu_of(const Task& p) { return cpu(static_cast<int>(p.thread_info.cpu)); }
  Task& current() { return *here().current; }
  bool running(const Task& p) { return cpu_of(p).curr == &p; }
  Draw& random() { return random_; }
  std::uint64_t events() const { return done_; }
  bool chance(unsigned one_in) { return !exact_ && random_.in(1, one_in) == 1; }

  // The next event. Returns the CPU that it was for.
  int step();
  // All events before `end`.
  void run_until(Time end) {
    while (!events_.empty() && events_.top().when < end) step();
  }
  // happens(what) on this CPU, in an interrupt.
  void post(Time when, int cpu, std::uint32_t what) { post(when, What::own, cpu, what); }
  void at(Time when, std::function<void()> what);  // in an interrupt of some CPU

  // What happens to tasks; on: the CPU on which somebody does it.
  void born(Task& p, unsigned cpu);  // asleep
  void fork(int on, Task& p, unsigned cpu);
  void wake(int on, Task& p);
  void block(int cpu);  // the current task sleeps
  void exit(int cpu);   // or ends
  void set_affinity(int on, Task& p, cpumask mask);
  void set_realtime(int on, Task& p, bool realtime);
  void move_cgroup(int on, Task& p, task_group* to);
  void set_weight(int on, Task& p, unsigned weight);
  void disable_migration(Task& p);  // p is current
  void enable_migration(Task& p);
  void schedule(int cpu);
  void yield(int cpu);
  void resched(Cpu& c);
  void interrupt_ends(int cpu);
  void softirq(int cpu);            // takes some time on top of whatever runs there
  void preemption_ends(int cpu) { post(now_, What::resched, cpu, 0); }
  void run_for(Task& p);            // its work has changed
  void cpu_offline(int cpu);
  void cpu_dead(int cpu);
  void cpu_online(int cpu);
  // All of the class's tasks, and the others that it knows.
  void bypass(bool begins, const std::vector<Task*>& tasks);
  void reload(const std::vector<Task*>& tasks);
  void dump();
  // What SCHED_DEADLINE threads hold, in thousandths of all CPUs.
  void deadline(unsigned permille);

  // On `cpu`, interrupts on.
  template <class F>
  void on(int cpu, F f) {
    const int before = here_;
    here_ = cpu;
    f();
    here_ = before;
  }
  Time noise(Time least, Time most) { return exact_ ? 0 : noise_.in(least, most); }
  void advance(Time least, Time most) { now_ += noise(least, most); }

  // kfuncs (kfuncs.cpp)
  dsq* find(std::uint64_t id, Cpu& c);
  void create(std::uint64_t id);
  void insert(Task& p, std::uint64_t id, std::uint64_t slice, std::uint64_t flags, const std::uint64_t* vtime);
  bool move_to_local(std::uint64_t id);
  bool move(bpf_iter_scx_dsq& it, Task& p, std::uint64_t id, std::uint64_t flags, bool by_vtime);
  int pick_idle(const cpumask& allowed);
  void kick(int cpu);
  bool kick_current();
  void arm(int cpu, Time when);
  void disarm(int cpu);
  void answered(int cpu) { timer_[static_cast<unsigned>(cpu)].unanswered = false; }

  [[noreturn]] void fail(const char* format, ...) __attribute__((format(printf, 2, 3)));
  void trace(const char* what, const Task* p = nullptr, std::uint64_t a = 0, std::uint64_t b = 0);
  bool verbose = false, dumps = false;
  unsigned dump_most = 200;

 protected:
  virtual void work_done(Task& p) = 0;      // p, which runs, has no work left
  // Something may happen on another CPU, to this one's run queue, too, and to the task that it is about to move.
  virtual void elsewhere(Cpu& unlocked, Task& wanted) = 0;
  virtual void switched(Cpu& c, Task& prev, Task& next) = 0;
  virtual void softirq_took(Cpu&, Time) {}
  virtual void gone(Task& p) = 0;
  virtual void describe() = 0;  // after a violation
  virtual void happens(std::uint32_t) {}
  // Around each callback of the class.
  virtual void call_begins() {}
  virtual void call_ends() {}

 private:
  Kernel(Draw draw, unsigned cpus, const Exact* exact);

  enum class What : std::uint8_t { call, tick, resched, timer, kick, work, own };
  struct Event {
    Time when;
    std::uint64_t seq;
    What what;
    std::int32_t cpu;
    std::uint32_t gen;
    bool operator<(const Event& o) const { return when != o.when ? when > o.when : seq > o.seq; }
  };
  struct Timer {
    static constexpr Time fired = 1;
    Time when = 0, again = 0;
    std::uint32_t gen = 0;
    bool queued = false, unanswered = false;
  };
  struct Line {
    Time when;
    int cpu;
    const char* what;
    std::int32_t pid;
    std::uint64_t a, b;
  };

  template <class F>
  void call(const char* what, Task* p, F f) {
    Task& cur = current();
    trace(what, p);
    advance(40, 300);
    ++cur.migration_disabled;  // as while any BPF program runs
    ++depth_;
    call_begins();
    f();
    call_ends();
    --depth_;
    --cur.migration_disabled;
  }
  void post(Time when, What what, int cpu, std::uint32_t gen);
  void handle(const Event& e);
  void timer_fires(int cpu);

  void update_clock(Cpu& c);
  void update_curr(Cpu& c);
  void enqueue(Cpu& c, Task& p, std::uint64_t flags);
  void dequeue(Cpu& c, Task& p, bool sleeps);
  void do_enqueue(Cpu& c, Task& p, std::uint64_t flags);
  void dispatch_enqueue(dsq& q, Cpu& c, Task& p, std::uint64_t flags, bool by_vtime);
  void dispatch_dequeue(Task& p);
  void put_prev(Cpu& c, Task& p, const Task* next);
  void set_next(Cpu& c, Task& p);
  bool balance(Cpu& c, Task& prev, bool& keep);
  Task& pick(Cpu& c, Task& prev);
  template <class F>
  void change(Task& p, F f);
  void migrate(Task& p, unsigned cpu);
  void stop(Cpu& c, std::function<void()> work);
  unsigned fallback(Task& p);
  bool allowed(const Task& p, int cpu);
  void let_go(Cpu& c, Task& wanted);
  void update_idle(Cpu& c, bool idle, bool notify);
  void set_task_runnable(Task& p);

  bool exact_;
  Time switch_ns_;
  Time now_ = second;  // of CLOCK_MONOTONIC
  Draw random_;
  sim::Random noise_;  // how long the kernel takes: an input is for what happens
  std::vector<Cpu> cpu_;
  std::vector<Timer> timer_;
  std::vector<char> kicked_;
  int here_ = 0, depth_ = 0;
  std::priority_queue<Event> events_;
  std::unordered_map<std::uint32_t, std::function<void()>> calls_;
  std::uint64_t seq_ = 0, done_ = 0;
  std::uint32_t next_call_ = 0;
  std::vector<std::unique_ptr<dsq>> queues_[5];  // by kind (spare.bpf.h) and number
  std::unique_ptr<dsq>* place(std::uint64_t id);
  root_domain root_{};
  unsigned deadline_ = 0;
  std::vector<Line> lines_;
  std::size_t line_ = 0;
  friend class World;
};

extern constinit thread_local Kernel* kernel;  // kfuncs have no other way to it

// sched_change_begin(), sched_change_end()
template <class F>
void Kernel::change(Task& p, F f) {
  Cpu& c = cpu_of(p);
  const bool queued = p.on_rq, runs = c.curr == &p;
  update_clock(c);
  if (queued) dequeue(c, p, false);
  if (runs) put_prev(c, p, nullptr);
  f();
  if (queued) enqueue(c, p, enqueue_restore);
  if (runs) set_next(c, p);
}

}  // namespace spare::model

// Outside the namespace, as the shim declares it.
struct dsq {
  explicit dsq(u64 number) : id(number) { head.prev = head.next = &head; }
  u64 id;
  spare::model::Node head;
  u32 n = 0;
  u64 seq = 0;
  spare::model::Task* first() const;
};
