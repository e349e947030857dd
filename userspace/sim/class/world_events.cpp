// SPDX-License-Identifier: GPL-2.0-only
//
// What happens in the world beside what its tasks do: packets, costs, operators, the class's own comings and goings, hotplug.
#include "world.hpp"

#include <algorithm>
#include <bit>

namespace spare::model {

namespace {

constexpr std::size_t vms_most = 8;
constexpr unsigned tasks_most = 60;  // beyond which nobody forks

}  // namespace

// ---- what happens --------------------------------------------------------------------------------------------------

// (Without a server its threads are those of its cgroups.)
void World::changed(Vm& vm) {
  vm.since = now();
  changed(&vm.group);
}

void World::changed(task_group* g) {
  for (; g != &root_group_; g = g->parent) static_cast<Group*>(g)->since = now();
}

// Where its CPUs are away, a VM's threads are the host's.
void World::changed_all() {
  for (const auto& vm : module_.vms()) changed(*vm);
  for (const auto& g : groups_) changed(g.get());
}

void World::act_soon() {
  at(now() + (mix_.calm ? random().in(ms, 20 * ms) : random().in(20 * us, 600 * us)), [this] {
    act();
    act_soon();
  });
}

void World::packet() {
  Vm* vm = any_vm(false);
  if (!vm) return;
  module_.packet(*vm);
  for (const int pid : pids_) {
    Task& p = *tasks_.at(pid);
    if (p.role != Role::net || p.vm != vm || !p.storage || !p.__state) continue;
    wake(here_cpu(), p);
    if (p.on_rq && p.in && class_task(&p).counted) {
      const class_task_view t = class_task(&p);
      const Server* s = module_.at(static_cast<int>(t.cpu), t.slot);
      if (s && s->abi.state == SPARE_THROTTLED) {
        expect_service(p, *s);
        if (mix_.affinity && chance(3)) set_affinity(here_cpu(), p, {draw_cpus(1)});  // and does not stay
      }
    }
    break;
  }
}

// Softirqs for a VM, here or elsewhere; now and then more than it can pay for in a long time.
void World::cost() {
  Vm* vm = any_vm(chance(8));
  if (!vm) return;
  auto& r = random();
  const Time ns = chance(200) ? r.in(ms, 2 * second) : chance(20) ? r.in(100 * us, 10 * ms) : r.in(us, 60 * us);
  trace("costs", nullptr, vm->abi.id, ns);
  vm->cost_ns += ns;
}

void World::reconfigure() {
  Vm* vm = any_vm(chance(4));
  if (!vm) return;
  auto& r = random();
  Config c = vm->config;
  switch (r.in(0, 5)) {
    case 0: c.reservation = draw_reservation(c.provide); break;
    case 1: c.cpus = draw_cpus(3); break;
    case 2: c.reservation = chance(3) ? Reservation{} : draw_reservation(c.provide); break;
    case 3: draw_policy(*vm); break;
    case 4: draw_use(*vm); break;
    case 5:
      if (chance(4)) c.provide = !c.provide;
      break;
  }
  trace("configure", nullptr, vm->abi.id);
  set(*vm, c);
  changed(*vm);
}

// A write that needs more queues than there are has some made, and is tried again.
void World::set(Vm& vm, const Config& c) {
  if (module_.set(vm, c)) return;
  queues();
  module_.set(vm, c);
}

// The module forks when queues are missing.
void World::queues() {
  if (!module_.queues_missing()) return;
  Task& p = make(Role::sleeper, "sched_spare", nullptr, {all()});
  p.child = true;
  fork(here_cpu(), p, fallback(p));
}

// SIGKILL, and when the last thread has gone, rmdir. (Of a provider at once.)
void World::kill(Vm& vm) {
  trace("kill", nullptr, vm.abi.id);
  vm.ends = true;
  for (const int pid : pids_) {
    Task& p = *tasks_.at(pid);
    if (p.vm != &vm) continue;
    p.killed = true;
    if (p.storage) wake(here_cpu(), p);
  }
  remove_when_empty(vm);
}

void World::remove_when_empty(Vm& vm) {
  if (std::any_of(pids_.begin(), pids_.end(), [&](int pid) { return tasks_.at(pid)->vm == &vm || tasks_.at(pid)->sched_task_group == &vm.group; })) {
    at(now() + 20 * ms, [this, &vm] { remove_when_empty(vm); });
    return;
  }
  trace("removed", nullptr, vm.abi.id);
  for (const auto& v : module_.vms())
    if (std::count(v->uses.begin(), v->uses.end(), &vm)) changed(*v);
  changed(vm);
  module_.remove(vm);
}

void World::lives() {
  const bool provider = mix_.providers && chance(3);
  const auto& all_vms = module_.vms();
  if (Vm* vm = any_vm(provider); vm && chance(2)) {
    kill(*vm);
  } else if (static_cast<std::size_t>(std::count_if(all_vms.begin(), all_vms.end(), [](const auto& v) { return !v->removed; })) < vms_most) {
    const int first = next_pid_;
    make_vm(provider);
    for (int pid = first; pid < next_pid_; pid++) start(*tasks_.at(pid), 5 * ms);
  }
}

// ---- the class comes and goes --------------------------------------------------------------------------------------

std::vector<Task*> World::all_tasks() {
  std::vector<Task*> all;
  for (const int pid : pids_) all.push_back(tasks_.at(pid).get());
  return all;
}

// (The kernel lets no CPU come or go meanwhile.)
void World::class_ends() {
  if (bypassed_ || std::any_of(hotplug_.begin(), hotplug_.end(), [](Hotplug h) { return h != Hotplug::on && h != Hotplug::off; })) return;
  for (unsigned i = 0; i < cpus(); i++) account(*cpu(static_cast<int>(i)).curr);
  reload(all_tasks());
  changed_all();
  for (Busy& b : busy_) b.free = true;
  for (Paid& p : paid_) p.unknown = true;
}

void World::bypass_begins() {
  if (bypassed_ || now() < bypass_next_) return;
  bypassed_ = true;
  bypass_next_ = now() + 20 * second;  // (Each time all queues begin anew.)
  bypass(true, all_tasks());
  at(now() + random().in(ms, 300 * ms), [this] {
    bypass(false, all_tasks());
    bypassed_ = false;
    changed_all();
  });
}

void World::act() {
  auto& r = random();
  const unsigned what = static_cast<unsigned>(r.in(0, 111));
  Task* p = any_task();
  if (what < 60) {
    if (mix_.softirqs) softirq(here_cpu());
    if (mix_.costs && chance(2)) cost();
    packet();
  } else if (what < 66) {
    if (mix_.affinity && p) set_affinity(here_cpu(), *p, {chance(4) && p->vm && p->vm->config.cpus ? p->vm->config.cpus : draw_cpus(cpus())});
  } else if (what < 69) {
    if (p && running(*p)) account(*p);
    const auto high = std::count_if(tasks_.begin(), tasks_.end(), [](const auto& t) { return t.second->policy == Policy::realtime && !t.second->dead; });
    if (mix_.realtime && p && p->role == Role::sleeper && (high < 3 || p->policy == Policy::realtime)) set_realtime(here_cpu(), *p, p->policy == Policy::ext);
    else if (mix_.realtime && p && p->policy == Policy::realtime) set_realtime(here_cpu(), *p, false);
  } else if (what < 72) {
    if (mix_.moves && p) {
      Vm* to = chance(2) ? any_vm(false) : nullptr;
      // The css first, the scheduler's part later (cgroup_migrate_execute()).
      if (p->vm) changed(*p->vm);
      if (to) changed(*to);
      if (running(*p)) account(*p);
      changed(p->sched_task_group);
      p->vm = to;
      at(now() + r.in(us, 100 * us), [this, pid = p->pid] {
        const auto t = tasks_.find(pid);
        if (t != tasks_.end() && !t->second->dead)
          move_cgroup(here_cpu(), *t->second, t->second->vm ? &t->second->vm->group : any_group());
      });
    }
  } else if (what < 74) {
    if (p) set_weight(here_cpu(), *p, static_cast<unsigned>(r.in(1, 1000)));
  } else if (what < 78) {
    if (pids_.size() < tasks_most && !mix_.quiet) {
      Vm* vm = chance(2) ? any_vm(false) : nullptr;
      Task& t = make(chance(4) ? Role::burner : Role::sleeper, "child", vm, {vm && vm->config.cpus && chance(2) ? vm->config.cpus : all()});
      t.child = true;
      if (!vm && chance(2)) t.sched_task_group = any_group();
      fork(here_cpu(), t, fallback(t));
    }
  } else if (what < 80) {
    if (mix_.churn && chance(4)) reconfigure();
  } else if (what < 81) {
    if (mix_.hotplug && chance(3)) hotplug();
  } else if (what < 84) {
    if (mix_.groups) change_groups();
  } else if (what < 86) {
    if (mix_.lives && chance(10)) lives();
  } else if (what < 87) {
    if (mix_.reload && chance(20)) class_ends();
  } else if (what < 88) {
    if (mix_.bypass && chance(20)) bypass_begins();
  } else if (what < 89) {
    if (mix_.deadline) deadline(static_cast<unsigned>(r.in(0, 700)));
    if (chance(8)) dump();
  } else if (p && p->__state && p->role != Role::net) {
    wake(here_cpu(), *p);
  }
}

// Most of it aims at what the CPU has just looked at.
void World::elsewhere(Cpu& unlocked, Task& wanted) {
  if (nested_ >= 2) return;
  const int on_cpu = any_cpu();
  if (on_cpu < 0) return;
  nested_++;
  on(on_cpu, [&] {
    if (chance(3)) set_affinity(on_cpu, wanted, {wanted.mask.bits});
    else if (mix_.affinity && chance(3)) set_affinity(on_cpu, wanted, {draw_cpus(cpus())});
    for (int tries = 0; tries < 6; tries++)
      if (Task* p = any_task(); p && p->__state && p->thread_info.cpu == static_cast<unsigned>(unlocked.id)) wake(on_cpu, *p);
    if (chance(4)) packet();
    if (Task* p = any_task(); mix_.affinity && p && chance(4)) set_affinity(on_cpu, *p, {draw_cpus(cpus())});
    if (cpu(on_cpu).need_resched && chance(2)) schedule(on_cpu);
    else preemption_ends(on_cpu);
  });
  nested_--;
}

// ---- hotplug -------------------------------------------------------------------------------------------------------

void World::hotplug() {
  unsigned i = static_cast<unsigned>(random().in(0, cpus() - 1)), there = 0;
  if (const Vm* vm = any_vm(false); vm && std::popcount(vm->config.cpus) == 1) i = static_cast<unsigned>(std::countr_zero(vm->config.cpus));
  for (unsigned n = 0; n < cpus(); n++) {
    there += cpu(static_cast<int>(n)).active;
    if (hotplug_[n] == Hotplug::leaving || hotplug_[n] == Hotplug::left || hotplug_[n] == Hotplug::coming) return;  // one at a time
  }
  if (hotplug_[i] == Hotplug::on && there > 1 && hotplug_task_[i]->storage) {
    trace("goes", nullptr, i);
    hotplug_[i] = Hotplug::leaving;
    cpu(static_cast<int>(i)).active = false;
    changed_all();
    at(now() + random().in(ms, 5 * ms), [this, i] { wake(here_cpu(), *hotplug_task_[i]); });
  }
}

void World::hotplug_step(Task& p) {
  const int id = here_cpu();
  const unsigned i = static_cast<unsigned>(id);
  Cpu& c = cpu(id);
  if (hotplug_[i] == Hotplug::coming) {
    cpu_online(id);
    hotplug_[i] = Hotplug::on;
    changed_all();
  }
  if (hotplug_[i] == Hotplug::leaving) {
    cpu_offline(id);
    hotplug_[i] = Hotplug::left;
    hotplug_since_[i] = now();
  }
  if (hotplug_[i] == Hotplug::left) {
    // (Who waits in another CPU's queue may have to wait for budget.)
    unsigned others = 0;
    for (const int pid : pids_) {
      const Task& t = *tasks_.at(pid);
      if (&t == &p || !t.on_rq || &cpu_of(t) != &c) continue;
      others++;
      const bool elsewhere = !t.migration_disabled && t.cpus_ptr->bits & ~(1ULL << i);
      if (now() - std::max(hotplug_since_[i], t.woken) > (elsewhere ? 12 : 1) * second) fail("CPU %d goes, and %s/%d does not leave it", id, t.comm, t.pid);
    }
    if (!others) {
      hotplug_[i] = Hotplug::off;
      at(now() + (chance(2) ? random().in(ms, 50 * ms) : random().in(100 * ms, 400 * ms)), [this, i, id] {
        hotplug_[i] = Hotplug::coming;
        cpu(id).dead = false;
        wake(here_cpu(), *hotplug_task_[i]);
      });
    } else {
      sleep(p, 200 * us);
    }
  }
  block(id);
  if (hotplug_[i] == Hotplug::off) cpu_dead(id);
}

}  // namespace spare::model
