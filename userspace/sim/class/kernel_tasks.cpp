// SPDX-License-Identifier: GPL-2.0-only
//
// What happens to tasks, to CPUs and to the class.
#include "kernel.hpp"

#include <algorithm>

namespace spare::model {

namespace {

bool test(const cpumask& m, int cpu) { return m.bits >> cpu & 1; }

}  // namespace

// ---- what happens to tasks -----------------------------------------------------------------------------------------

void Kernel::run_for(Task& p) {
  Cpu& c = cpu_of(p);
  if (&p == &c.idle || p.left >= forever || !running(p)) return;
  post(now_ + p.left, What::work, c.id, ++c.runs);
}

void Kernel::yield(int id) {
  cpu(id).curr->scx.slice = 0;
  schedule(id);
}

void Kernel::block(int id) {
  Task& p = *cpu(id).curr;
  p.__state = 1;
  p.sleeps++;
  schedule(id);
}

void Kernel::exit(int id) {
  Task& p = *cpu(id).curr;
  p.__state = 0x80;
  p.dead = true;
  schedule(id);
}

bool Kernel::allowed(const Task& p, int id) {
  if (!test(*p.cpus_ptr, id)) return false;
  return p.migration_disabled || p.flags & 0x04000000 ? !cpu(id).dead : cpu(id).active;
}

// select_fallback_rq()
unsigned Kernel::fallback(Task& p) {
  for (unsigned i = 0; i < cpus(); i++)
    if (allowed(p, static_cast<int>(i))) return i;
  p.mask.bits = (1ULL << cpus()) - 1;
  p.nr_cpus_allowed = static_cast<int>(cpus());
  return fallback(p);
}

// wake_up_new_task(), after scx_init_task() and scx_post_fork()
void Kernel::fork(int id, Task& p, unsigned to) {
  on(id, [&] {
    born(p, to);
    wake(id, p);
  });
}

void Kernel::born(Task& p, unsigned to) {
  p.thread_info.cpu = to;
  call("init", &p, [&] {
    if (sched_spare_ops.init_task(&p, nullptr)) fail("init_task fails");
  });
  call("enable", &p, [&] { sched_spare_ops.enable(&p); });
  if (p.policy == Policy::realtime) {
    call("disable", &p, [&] { sched_spare_ops.disable(&p); });
    p.prio = 50;
  }
  p.__state = 1;
}

// try_to_wake_up()
void Kernel::wake(int id, Task& p) {
  if (!p.__state || p.on_rq || p.dead || p.moving) return;
  if (running(p)) {  // it is being switched away from: who wakes it waits for p->on_cpu
    at(now_ + us, [this, &p, sleeps = p.sleeps] {
      if (p.sleeps == sleeps) wake(here_, p);
    });
    return;
  }
  on(id, [&] {
    int to = static_cast<int>(p.thread_info.cpu);
    if (p.policy == Policy::ext && p.nr_cpus_allowed > 1 && !p.migration_disabled && !cpu(to).bypass)
      call("select", &p, [&] { to = sched_spare_ops.select_cpu(&p, to, 8 /* WF_TTWU */); });
    if (to < 0 || to >= static_cast<int>(cpus())) fail("select_cpu says %d", to);
    if (!allowed(p, to)) to = static_cast<int>(fallback(p));
    p.thread_info.cpu = static_cast<unsigned>(to);
    p.__state = 0;
    trace("wake", &p, static_cast<std::uint64_t>(to));
    Cpu& c = cpu(to);
    update_clock(c);
    enqueue(c, p, SCX_ENQ_WAKEUP);
    // wakeup_preempt()
    if (c.curr->policy == Policy::idle || (p.policy == Policy::realtime && c.curr->policy == Policy::ext)) resched(c);
  });
}

// move_queued_task()
void Kernel::migrate(Task& p, unsigned to) {
  trace("migrate", &p, to);
  update_clock(cpu_of(p));
  dequeue(cpu_of(p), p, false);
  p.thread_info.cpu = to;
  Cpu& c = cpu_[to];
  update_clock(c);
  enqueue(c, p, enqueue_migrated);
  if (c.curr->policy == Policy::idle) resched(c);
}

void Kernel::stop(Cpu& c, std::function<void()> work) {
  c.stop_work.push_back(std::move(work));
  c.stopper.left = noise(500, 3 * us);
  c.stopper.__state = 0;
  if (c.stopper.on_rq) return;
  enqueue(c, c.stopper, 0);
  resched(c);
}

// __set_cpus_allowed_ptr(). (While migration is off, only the mask is noted.)
void Kernel::set_affinity(int id, Task& p, cpumask mask) {
  if (p.moving || p.dead) return;
  on(id, [&] {
    trace("affinity", &p, mask.bits);
    if (p.migration_disabled && !(&p == &current() && depth_)) {
      p.mask = mask;
      p.nr_cpus_allowed = __builtin_popcountll(mask.bits);
      if (p.cpus_ptr == &p.mask && !running(p)) fail("migration is off and nobody has pinned it");
      return;
    }
    change(p, [&] {
      p.mask = mask;
      p.nr_cpus_allowed = __builtin_popcountll(mask.bits);
      if (p.policy == Policy::ext) call("set_cpumask", &p, [&] { sched_spare_ops.set_cpumask(&p, p.cpus_ptr); });
    });
    Cpu& c = cpu_of(p);
    if (!p.on_rq || allowed(p, c.id)) return;
    if (running(p) || c.busy) {
      stop(c, [this, &p, from = c.id] {
        if (p.on_rq && !p.moving && !p.migration_disabled && cpu_of(p).id == from && !running(p) && !allowed(p, from)) migrate(p, fallback(p));
      });
    } else {
      migrate(p, fallback(p));
    }
  });
}

void Kernel::set_realtime(int id, Task& p, bool realtime) {
  if (p.moving || p.dead || (p.policy == Policy::realtime) == realtime) return;
  on(id, [&] {
    trace(realtime ? "realtime" : "fair again", &p);
    change(p, [&] {
      if (!realtime) call("enable", &p, [&] { sched_spare_ops.enable(&p); });
      p.reset_runnable = true;
      p.policy = realtime ? Policy::realtime : Policy::ext;
      p.prio = realtime ? 50 : 120;
    });
    if (realtime) call("disable", &p, [&] { sched_spare_ops.disable(&p); });
    if (p.on_rq && (!running(p) || !realtime)) resched(cpu_of(p));
  });
}

void Kernel::move_cgroup(int id, Task& p, task_group* to) {
  if (p.moving || p.dead) return;
  on(id, [&] {
    trace("cgroup", &p, static_cast<std::uint64_t>(to->css.id));
    change(p, [&] {
      if (p.policy == Policy::ext) call("cgroup_move", &p, [&] { sched_spare_ops.cgroup_move(&p, nullptr, nullptr); });
      p.sched_task_group = to;
    });
    if (running(p)) resched(cpu_of(p));
  });
}

void Kernel::set_weight(int id, Task& p, unsigned weight) {
  if (p.moving || p.dead) return;
  on(id, [&] { change(p, [&] { p.scx.weight = weight; }); });
}

void Kernel::disable_migration(Task& p) { p.migration_disabled++; }

void Kernel::enable_migration(Task& p) {
  if (p.cpus_ptr != &p.mask) {
    change(p, [&] {
      p.cpus_ptr = &p.mask;
      call("set_cpumask", &p, [&] { sched_spare_ops.set_cpumask(&p, p.cpus_ptr); });
    });
  }
  p.migration_disabled--;
  Cpu& c = cpu_of(p);
  if (!allowed(p, c.id))
    stop(c, [this, &p, from = c.id] {
      if (p.on_rq && !p.moving && !p.migration_disabled && cpu_of(p).id == from && !running(p) && !allowed(p, from)) migrate(p, fallback(p));
    });
}

int Kernel::pick_idle(const cpumask& mask) {
  for (Cpu& c : cpu_)
    if (c.idle_bit && c.online && test(mask, c.id)) {
      c.idle_bit = false;
      return c.id;
    }
  return -1;
}

// ---- CPUs come and go ----------------------------------------------------------------------------------------------

// sched_cpu_deactivate(): sched_set_rq_offline(), scx_rq_deactivate(), by the CPU's hotplug thread, which runs there; then it waits until
// nobody is left.
void Kernel::cpu_offline(int id) {
  Cpu& c = cpu(id);
  on(id, [&] {
    trace("cpu_offline");
    c.online = 0;
    deadline(deadline_);
    c.idle_bit = false;
    call("cpu_offline", nullptr, [&] { sched_spare_ops.cpu_offline(id); });
  });
}

// Its timer is another CPU's then, which does not want it (kmod/timer.c).
void Kernel::cpu_dead(int id) {
  cpu(id).dead = true;
  Timer& t = timer_[static_cast<unsigned>(id)];
  const Time when = t.when;
  disarm(id);
  if (when) t.when = Timer::fired;
}

// sched_cpu_activate(), by that thread.
void Kernel::cpu_online(int id) {
  Cpu& c = cpu(id);
  on(id, [&] {
    trace("cpu_online");
    c.active = true;
    deadline(deadline_);
    call("cpu_online", nullptr, [&] { sched_spare_ops.cpu_online(id); });
    c.online = 1;
  });
}

// ---- the class comes and goes --------------------------------------------------------------------------------------

// scx_bypass(): each runnable task is queued anew.
void Kernel::bypass(bool begins, const std::vector<Task*>& tasks) {
  trace(begins ? "bypass" : "bypass ends");
  for (Cpu& c : cpu_) {
    c.bypass = begins;
    for (Task* p : tasks)
      if (p->on_rq && p->policy == Policy::ext && &cpu_of(*p) == &c) change(*p, [] {});
    if (!c.dead) resched(c);
  }
}

// scx_disable_workfn(), scx_enable_workfn(): the class ends and begins anew while tasks wait and run.
void Kernel::reload(const std::vector<Task*>& tasks) {
  std::vector<std::pair<Task*, bool>> were;
  bypass(true, tasks);
  for (Task* p : tasks) {
    if (!p->storage) continue;
    were.emplace_back(p, p->on_rq);
    if (p->policy == Policy::ext) {
      update_clock(cpu_of(*p));
      if (p->on_rq) dequeue(cpu_of(*p), *p, false);
      call("disable", p, [&] { sched_spare_ops.disable(p); });
    }
    std::free(p->storage);
    p->storage = nullptr;
    p->reset_runnable = true;  // it would run in the fair class
  }
  for (const auto& kind : queues_)
    for (const auto& q : kind)
      if (q && q->n) fail("the class ends, and queue %llx is not empty", static_cast<unsigned long long>(q->id));
  scx_exit_info info{64, 0, "unregistered", "", ""};
  call("exit", nullptr, [&] { sched_spare_ops.exit(&info); });
  for (auto& kind : queues_) kind.clear();
  class_begin(cpus());
  call("init", nullptr, [&] {
    if (sched_spare_ops.init()) fail("init fails");
  });
  for (const auto& [p, queued] : were) {
    call("init_task", p, [&, t = p] {
      if (sched_spare_ops.init_task(t, nullptr)) fail("init_task fails");
    });
    if (p->policy != Policy::ext) continue;
    Cpu& c = cpu_of(*p);
    update_clock(c);
    call("enable", p, [&, t = p] { sched_spare_ops.enable(t); });
    if (queued) enqueue(c, *p, enqueue_restore);
    if (c.curr == p) set_next(c, *p);
  }
  bypass(false, tasks);
}

void Kernel::deadline(unsigned permille) {
  const auto there = static_cast<unsigned>(std::count_if(cpu_.begin(), cpu_.end(), [](const Cpu& c) { return c.active; }));
  deadline_ = permille;
  root_.dl_bw.total_bw = 2 * (dl_whole / 20) * there + dl_whole * there * permille / 1000;
}

}  // namespace spare::model
