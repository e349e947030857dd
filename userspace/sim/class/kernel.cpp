// SPDX-License-Identifier: GPL-2.0-only
//
// Time, interrupts, and who runs. What happens to tasks is in kernel_tasks.cpp, queues are in kernel_queues.cpp.
// Comments name the kernel's functions that are modelled (kernel/sched/core.c, kernel/sched/ext.c).
#include "kernel.hpp"

#include <algorithm>
#include <bit>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <utility>

namespace spare::model {

constinit thread_local Kernel* kernel;

namespace {

constexpr Time clock_begins = 123'456'789;  // rq_clock() is not CLOCK_MONOTONIC
constexpr Time timer_again = 50 * us, timer_again_most = 4 * ms, timer_later = ms;

}  // namespace

Task::~Task() { std::free(storage); }

Kernel::Kernel(Draw draw, unsigned cpus, const Exact* exact)
    : exact_(exact), switch_ns_(exact ? exact->switch_ns : 0), random_(draw), noise_(random_.next(), 2), cpu_(cpus), timer_(cpus), kicked_(cpus) {
  kernel = this;
  if (exact) dump_most = 0;
  for (unsigned i = 0; i < cpus; i++) {
    Cpu& c = cpu_[i];
    c.id = static_cast<int>(i);
    c.local = std::make_unique<dsq>(SCX_DSQ_LOCAL);
    c.online = 1;
    c.rd = &root_;
    c.fair_server = c.ext_server = {1, dl_whole / 20};
    c.clock_task = clock_begins + now_;
    c.set_curr(c.idle);
    c.current = &c.idle;
    c.switched = c.idle_since = now_;
    c.idle_bit = true;
    for (Task* t : {&c.idle, &c.stopper}) {
      t->thread_info.cpu = i;
      t->cpus_ptr = &t->mask;
      t->mask.bits = 1ULL << i;
      t->nr_cpus_allowed = 1;
      t->flags = kthread_flags;
    }
    c.idle.policy = Policy::idle;
    c.idle.role = Role::idle;
    c.idle.prio = 120;
    c.stopper.policy = Policy::realtime;
    c.stopper.role = Role::stopper;
    c.stopper.prio = -1;
    c.stopper.pid = static_cast<int>(1000 + i);
    post(now_ + (exact ? jiffy : noise(0, jiffy)), What::tick, c.id, 0);
  }
}

Kernel::~Kernel() {
  kernel = nullptr;
  class_end();
}

// ---- events --------------------------------------------------------------------------------------------------------

void Kernel::post(Time when, What what, int cpu, std::uint32_t gen) { events_.push({std::max(when, now_), seq_++, what, cpu, gen}); }

void Kernel::at(Time when, std::function<void()> what) {
  calls_.emplace(next_call_, std::move(what));
  post(when, What::call, 0, next_call_++);
}

int Kernel::step() {
  const Event e = events_.top();
  events_.pop();
  now_ = std::max(now_, e.when);
  if (const Time end = cpu(e.cpu).switching; end > now_) {
    post(end, e.what, e.cpu, e.gen);
    return e.cpu;
  }
  here_ = e.cpu;
  done_++;
  handle(e);
  return e.cpu;
}

void Kernel::handle(const Event& e) {
  Cpu& c = cpu(e.cpu);
  switch (e.what) {
    case What::call: {
      auto f = std::move(calls_.at(e.gen));
      calls_.erase(e.gen);
      do here_ = static_cast<int>(random_.in(0, cpus() - 1));
      while (here().dead);
      const int where = here_;
      f();
      interrupt_ends(where);
      return;
    }
    case What::tick:  // sched_tick(); idle CPUs have none (NO_HZ)
      post(e.when + jiffy, What::tick, e.cpu, 0);
      if (c.curr == &c.idle) return;
      update_clock(c);
      if (c.curr->policy == Policy::ext) {
        update_curr(c);
        if (c.bypass) c.curr->scx.slice = 0;
        else call("tick", c.curr, [&] { sched_spare_ops.tick(c.curr); });
        if (!c.curr->scx.slice) resched(c);
      }
      interrupt_ends(e.cpu);
      return;
    case What::resched:
      if (c.need_resched) schedule(e.cpu);
      return;
    case What::timer:
      if (e.gen == timer_[static_cast<unsigned>(e.cpu)].gen) timer_fires(e.cpu);
      return;
    case What::kick:  // kick_handler()
      kicked_[static_cast<unsigned>(e.cpu)] = 0;
      if (c.dead) return;
      trace("kicked", c.curr);
      kick_current();
      interrupt_ends(e.cpu);
      return;
    case What::own:
      happens(e.gen);
      interrupt_ends(e.cpu);
      return;
    case What::work:
      if (e.gen != c.runs) return;
      if (c.curr == &c.stopper) {
        auto work = std::move(c.stop_work.front());
        c.stop_work.pop_front();
        work();
        if (c.stop_work.empty()) block(e.cpu);
        else run_for(c.stopper);
      } else {
        c.curr->left = 0;
        c.run_from = now_;
        work_done(*c.curr);
      }
      return;
  }
}

// kmod/timer.c: fired()
void Kernel::timer_fires(int id) {
  Timer& t = timer_[static_cast<unsigned>(id)];
  t.queued = false;
  t.when = Timer::fired;
  trace("timer", cpu(id).curr);
  Time next = timer_later;
  if (kick_current()) {
    t.unanswered = true;
    next = t.again;
    t.again = std::min(2 * t.again, timer_again_most);
  }
  t.queued = true;
  post(now_ + next, What::timer, id, ++t.gen);
  interrupt_ends(id);
}

// kmod/timer.c: spare_timer_set()
void Kernel::arm(int cpu, Time when) {
  if (cpu != here_) fail("the timer of CPU %d is armed on CPU %d", cpu, here_);
  Timer& t = timer_[static_cast<unsigned>(here_)];
  if (!t.unanswered)
    t.again = timer_again;
  else if (when)
    when = std::max(when, now_ + t.again);
  if (when == t.when && (!when || t.queued)) return;
  t.when = when;
  t.gen++;
  t.queued = when != 0;
  // The interrupt, and now and then somebody who has switched interrupts off.
  if (when) post(std::max(when, now_) + (noise(1, 300) == 1 ? noise(10 * us, 300 * us) : noise(100, 2 * us)), What::timer, here_, t.gen);
}

// kmod/timer.c: spare_timer_stop()
void Kernel::disarm(int id) {
  Timer& t = timer_[static_cast<unsigned>(id)];
  t.when = 0;
  t.gen++;
  t.queued = false;
}

// kmod/kick.c: spare_kick_current()
bool Kernel::kick_current() {
  Task& p = current();
  const bool ours = p.scx.flags & SCX_TASK_QUEUED;
  if (ours && !p.queueing) p.scx.slice = 0;
  if (&p == here().curr) here().need_resched = true;  // (In the switch away from p it is p's, and forgotten.)
  return ours;
}

void Kernel::kick(int id) {
  if (id == here_) {
    kick_current();
    return;
  }
  if (cpu(id).dead || kicked_[static_cast<unsigned>(id)]) return;
  kicked_[static_cast<unsigned>(id)] = 1;
  post(now_ + noise(300, 4 * us), What::kick, id, 0);
}

// resched_curr()
void Kernel::resched(Cpu& c) {
  if (c.need_resched) return;
  c.need_resched = true;
  if (c.id != here_) post(now_ + noise(300, 4 * us), What::resched, c.id, 0);
}

// An interrupt returns on a CPU that may be preempted, as a rule.
void Kernel::interrupt_ends(int id) {
  if (!cpu(id).need_resched) return;
  if (cpu(id).curr != &cpu(id).idle && chance(50)) post(now_ + random_.in(us, 150 * us), What::resched, id, 0);
  else schedule(id);
}

// What runs gets no further meanwhile.
void Kernel::softirq(int id) {
  Cpu& c = cpu(id);
  if (c.dead || c.busy) return;
  const Time began = now_;
  trace("softirq", c.curr);
  advance(us, 200 * us);
  if (c.curr->left < forever) {
    c.curr->left -= std::min(c.curr->left, began - c.run_from);
    c.run_from = now_;
    run_for(*c.curr);
  }
  softirq_took(c, now_ - began);
}

// ---- sched_ext -----------------------------------------------------------------------------------------------------

void Kernel::update_clock(Cpu& c) {
  c.clock = clock_begins + now_;
  c.clock_task = c.clock;
}

void Kernel::update_curr(Cpu& c) {
  Task& p = *c.curr;
  if (p.policy == Policy::idle) return;
  const Time delta = c.clock_task - p.se.exec_start;
  p.se.exec_start = c.clock_task;
  p.se.sum_exec_runtime += delta;
  p.scx.slice -= std::min<Time>(p.scx.slice, delta);
}

void Kernel::set_task_runnable(Task& p) {
  if (!p.reset_runnable) return;
  p.scx.runnable_at = now_ / jiffy;
  p.woken = now_;
  p.reset_runnable = false;
}

void Kernel::do_enqueue(Cpu& c, Task& p, std::uint64_t flags) {
  if (!c.online || c.bypass) {
    p.scx.slice = slice_default;
    p.direct = 0;
    dispatch_enqueue(*c.local, c, p, flags, false);
    return;
  }
  if (!p.direct) {
    p.queueing = true;
    call("enqueue", &p, [&] { sched_spare_ops.enqueue(&p, flags); });
  }
  if (!p.direct) fail("%s/%d was enqueued and is in no queue", p.comm, p.pid);
  dsq* q = find(p.direct, c);
  if (!q) fail("%s/%d is inserted into queue %llx, which there is not", p.comm, p.pid, static_cast<unsigned long long>(p.direct));
  p.direct = 0;
  trace("inserted", &p, q->id, p.scx.dsq_vtime);
  dispatch_enqueue(*q, c, p, p.direct_flags | flags, p.direct_by_vtime);
}

// enqueue_task_scx(), enqueue_task_rt()
void Kernel::enqueue(Cpu& c, Task& p, std::uint64_t flags) {
  p.on_rq = true;
  if (p.policy == Policy::realtime) {
    if (&p == &c.stopper || c.curr == &p) c.realtime.push_front(&p);
    else c.realtime.push_back(&p);
    return;
  }
  set_task_runnable(p);
  p.scx.flags |= SCX_TASK_QUEUED;
  c.queued++;
  do_enqueue(c, p, flags);
}

// dequeue_task_scx(), dequeue_task_rt()
void Kernel::dequeue(Cpu& c, Task& p, bool sleeps) {
  if (p.policy == Policy::realtime) {
    if (c.curr == &p) update_curr(c);
    std::erase(c.realtime, &p);
  } else {
    if (c.curr == &p) {
      update_curr(c);
      call(sleeps ? "stopping, sleeps" : "stopping, changed", &p, [&] { sched_spare_ops.stopping(&p, false); });
    }
    p.scx.flags &= ~SCX_TASK_QUEUED;
    c.queued--;
    dispatch_dequeue(p);
    if (sleeps) p.reset_runnable = true;
  }
  p.on_rq = false;
}

// put_prev_task_scx()
void Kernel::put_prev(Cpu& c, Task& p, const Task* next) {
  if (p.policy == Policy::idle) {
    update_idle(c, false, true);
    return;
  }
  update_curr(c);
  if (p.policy != Policy::ext || !(p.scx.flags & SCX_TASK_QUEUED)) return;
  call("stopping", &p, [&] { sched_spare_ops.stopping(&p, true); });
  set_task_runnable(p);
  if (p.scx.slice && !c.bypass) {
    dispatch_enqueue(*c.local, c, p, 1ULL << 4 /* SCX_ENQ_HEAD */, false);
    return;
  }
  do_enqueue(c, p, next && next->policy == Policy::idle ? SCX_ENQ_LAST : 0);
}

// set_next_task_scx()
void Kernel::set_next(Cpu& c, Task& p) {
  p.se.exec_start = c.clock_task;
  if (p.policy == Policy::idle) update_idle(c, true, true);
  if (p.policy != Policy::ext || !(p.scx.flags & SCX_TASK_QUEUED)) return;
  dispatch_dequeue(p);
  call("running", &p, [&] { sched_spare_ops.running(&p); });
  p.reset_runnable = true;
}

void Kernel::update_idle(Cpu& c, bool idle, bool notify) {
  c.idle_bit = idle;
  if (notify && c.online && !c.bypass) call(idle ? "idle" : "idle no more", nullptr, [&] { sched_spare_ops.update_idle(c.id, idle); });
}

// balance_one(). Returns whether there is somebody to run.
bool Kernel::balance(Cpu& c, Task& prev, bool& keep) {
  const bool prev_ext = prev.policy == Policy::ext;
  const bool prev_runs = prev_ext && prev.scx.flags & SCX_TASK_QUEUED;
  keep = false;
  if (prev_ext) {
    update_curr(c);
    if (prev_runs && prev.scx.slice && !c.bypass) return keep = true;
  }
  if (c.local->n) return true;
  if (!c.online || c.bypass) {
    keep = prev_runs;
    return prev_runs;
  }
  c.in_balance = true;
  c.looked = now_;
  call("dispatch", &prev, [&] { sched_spare_ops.dispatch(c.id, prev_ext ? &prev : nullptr); });
  c.in_balance = false;
  // (It may have been changed meanwhile.)
  if (prev.policy == Policy::ext && prev.scx.flags & SCX_TASK_QUEUED && prev.scx.slice) return keep = true;
  return c.local->n != 0;  // (SCX_OPS_ENQ_LAST)
}

Task& Kernel::pick(Cpu& c, Task& prev) {
  for (;;) {
    if (!c.realtime.empty()) return *c.realtime.front();
    bool keep;
    const bool some = balance(c, prev, keep);
    if (!c.realtime.empty()) continue;  // rq_modified_above(): RETRY_TASK
    if (!some) return c.idle;
    Task* p = keep ? &prev : c.local->first();
    if (!p) return c.idle;
    if (!p->scx.slice) p->scx.slice = slice_default;
    return *p;
  }
}

// __schedule()
void Kernel::schedule(int id) {
  Cpu& c = cpu(id);
  Task& prev = *c.curr;
  if (c.busy) fail("CPU %d schedules within schedule()", id);
  const Time began = now_;
  on(id, [&] {
    if (prev.left != forever) prev.left -= std::min(prev.left, now_ - c.run_from);
    if (!exact_ && &prev != &c.idle && prev.left == 0 && !prev.__state && prev.on_rq) prev.left = us;
    c.busy = true;
    c.runs++;
    advance(200, 1200);
    if (!std::exchange(c.skip_clock, false)) update_clock(c);
    if (prev.__state && prev.on_rq) dequeue(c, prev, true);
    Task& next = pick(c, prev);
    if (&next != &prev) {
      put_prev(c, prev, &next);
      if (prev.policy != Policy::realtime && next.policy != Policy::realtime) now_ += switch_ns_;
      set_next(c, next);
    } else if (&next == &c.idle) {
      update_idle(c, true, false);
    }
    c.need_resched = false;
    advance(200, 1200);
    if (&next != &prev) {
      c.set_curr(next);
      // migrate_disable_switch()
      if (prev.migration_disabled && prev.policy == Policy::ext && prev.cpus_ptr == &prev.mask) {
        prev.pinned.bits = 1ULL << id;
        change(prev, [&] {
          prev.cpus_ptr = &prev.pinned;
          call("set_cpumask", &prev, [&] { sched_spare_ops.set_cpumask(&prev, prev.cpus_ptr); });
        });
      }
      c.current = &next;
      trace("switch", &next, static_cast<std::uint64_t>(prev.pid));
      prev.ran += now_ - c.switched;
      if (next.policy == Policy::realtime || prev.policy == Policy::realtime) c.realtime_at = now_;
      if (&next == &c.idle) c.idle_since = now_;
      switched(c, prev, next);
      c.switched = now_;
      advance(100, 800);
    }
    c.busy = false;
    c.run_from = now_;
    run_for(next);
    // balance_push(): a CPU that goes has nobody's tasks run on.
    if (!c.active && next.policy == Policy::ext && !(next.flags & 0x04000000) && !next.migration_disabled) {
      Task* p = &next;
      stop(c, [this, p, id] {
        if (p->on_rq && !running(*p) && cpu_of(*p).id == id) migrate(*p, fallback(*p));
      });
      schedule(id);
    }
    if (prev.dead && &prev != &next) {
      if (prev.policy == Policy::ext) call("disable", &prev, [&] { sched_spare_ops.disable(&prev); });
      gone(prev);
    }
  });
  if (exact_) {
    c.switching = now_;
    now_ = began;
  }
}

// ---- for who looks -------------------------------------------------------------------------------------------------

void Kernel::trace(const char* what, const Task* p, std::uint64_t a, std::uint64_t b) {
  if (!dump_most && !verbose) return;
  const Line l{now_, here_, what, p ? p->pid : -1, a, b};
  if (verbose)
    std::printf("%12.6f [%d] %-22s %6d %llx %llx\n", static_cast<double>(l.when) * 1e-9, l.cpu, l.what, l.pid, static_cast<unsigned long long>(l.a),
                static_cast<unsigned long long>(l.b));
  if (lines_.size() < dump_most) lines_.push_back(l);
  else lines_[line_] = l;
  line_ = (line_ + 1) % dump_most;
}

// SysRq-D
void Kernel::dump() {
  for (Cpu& c : cpu_) sched_spare_ops.dump_cpu(nullptr, c.id, c.curr == &c.idle);
}

void Kernel::fail(const char* format, ...) {
  for (std::size_t i = 0; i < lines_.size() && !verbose; i++) {
    const Line& l = lines_[(lines_.size() == dump_most ? line_ + i : i) % lines_.size()];
    std::printf("%12.6f [%d] %-22s %6d %llx %llx\n", static_cast<double>(l.when) * 1e-9, l.cpu, l.what, l.pid, static_cast<unsigned long long>(l.a),
                static_cast<unsigned long long>(l.b));
  }
  for (Cpu& c : cpu_) {
    std::printf("CPU %d: %s/%d runs, %u queued, %u local, online %d, active %d\n", c.id, c.curr->comm, c.curr->pid, c.queued, c.local->n, c.online,
                c.active);
    dumps = true;
    sched_spare_ops.dump_cpu(nullptr, c.id, c.curr == &c.idle);
  }
  describe();
  char what[256];
  std::va_list args;
  va_start(args, format);
  std::vsnprintf(what, sizeof(what), format, args);
  va_end(args);
  std::printf("%.6f: %s\n", static_cast<double>(now_) * 1e-9, what);
  std::fflush(stdout);
  throw Violation{what};
}

}  // namespace spare::model
