// SPDX-License-Identifier: GPL-2.0-only
#include "world.hpp"

#include <sched_spare/guard.h>

#include <algorithm>
#include <bit>
#include <cstdio>
#include <utility>

namespace spare::model {

namespace {

constexpr std::size_t groups_most = 8;

struct Kind {
  const char* name;
  bool Mix::*is;
  unsigned one_in;
};

constexpr Kind kinds[] = {{"churn", &Mix::churn, 2},       {"affinity", &Mix::affinity, 2}, {"realtime", &Mix::realtime, 3}, {"hotplug", &Mix::hotplug, 4},
                          {"strays", &Mix::strays, 2},     {"crowd", &Mix::crowd, 4},       {"alone", &Mix::alone, 8},       {"limits", &Mix::limits, 3},
                          {"moves", &Mix::moves, 3},       {"pinning", &Mix::pinning, 3},   {"kernel", &Mix::kernel, 3},     {"calm", &Mix::calm, 4},
                          {"lives", &Mix::lives, 3},       {"groups", &Mix::groups, 3},     {"reload", &Mix::reload, 4},     {"bypass", &Mix::bypass, 4},
                          {"deadline", &Mix::deadline, 4}, {"hog", &Mix::hog, 8},        {"queues", &Mix::queues, 4},
                          {"quiet", &Mix::quiet, 4},       {"softirqs", &Mix::softirqs, 2}, {"costs", &Mix::costs, 2},
                          {"guards", &Mix::guards, 3}};

}  // namespace

World::World(Draw draw, unsigned cpus) : Kernel(draw, cpus), hotplug_(cpus), hotplug_task_(cpus), hotplug_since_(cpus), busy_(cpus), paid_(cpus) {
  auto& r = random();
  const auto coin = [&](unsigned one_in) { return r.in(1, one_in) == 1; };
  for (const Kind& k : kinds) mix_.*k.is = coin(k.one_in);
  mix_.providers = !coin(4);
  // It has nearly all of a CPU, as much as Linux leaves it; with others it would have more, and a CPU that goes would wait for it.
  if (mix_.hog) mix_.realtime = mix_.hotplug = false;
  if (mix_.quiet) mix_.crowd = false;
  root_group_.css = {1, 1};
  root_group_.scx = {false, 100, 100'000, ~0ULL, 0};
  for (unsigned n = r.in(1, 3); n; n--) make_group();
  deadline(0);
  class_begin(cpus);
  class_smt(coin(2));
  if (mix_.queues) module_.queues_wanted_ = module_.queues_ahead_ = static_cast<unsigned>(r.in(1, 8));
  if (sched_spare_ops.init()) fail("init fails");
  for (unsigned i = 0; i < cpus; i++) {
    Task& p = make(Role::hotplug, "cpuhp", nullptr, {1ULL << i});
    p.flags = kthread_flags;
    hotplug_task_[i] = &p;
    for (unsigned n = r.in(1, 2); n; n--) make(Role::kthread, "kworker", nullptr, {1ULL << i}).flags = kthread_flags;
  }
  for (unsigned n = r.in(0, cpus + 2); n; n--) {
    Task& p = make(coin(2) && !mix_.quiet ? Role::burner : Role::sleeper, "host", nullptr, {coin(3) ? draw_cpus(cpus) : all()});
    if (coin(2)) p.sched_task_group = any_group();
    if (coin(3)) p.scx.weight = static_cast<unsigned>(r.in(1, 1000));
  }
  if (mix_.crowd && coin(2)) {
    const bool large = coin(3);
    for (unsigned n = static_cast<unsigned>(large ? r.in(520, 700) : r.in(5, 100)); n; n--)
      make(Role::burner, "crowd", nullptr, {large ? 1 : all()}).sched_task_group = groups_[0].get();
    if (large) groups_[0]->scx = {false, 100, coin(2) ? 100'000ULL : 1'000'000ULL, 1000, 0};
  }
  if (mix_.realtime) make(Role::realtime, "rt", nullptr, {all()});
  if (!mix_.alone) {
    for (unsigned n = mix_.providers ? r.in(1, 2) : 0; n; n--) make_vm(true);
    for (unsigned n = r.in(1, 5); n; n--) make_vm(false);
  }
  if (mix_.hog) {
    Task& p = make(Role::hog, "hog", coin(2) ? any_vm(false) : nullptr, {draw_cpus(1)});
    p.policy = Policy::realtime;
  }
  for (const int pid : pids_) start(*tasks_.at(pid), 10 * ms);
  preemption_ends(here_cpu());
  act_soon();
}

World::~World() = default;

// ---- what there is -------------------------------------------------------------------------------------------------

// It is born soon, if it is not there yet.
void World::start(const Task& p, Time within) {
  if (p.storage) return;
  at(now() + random().in(0, within), [this, pid = p.pid] {
    if (tasks_.count(pid)) fork(here_cpu(), *tasks_.at(pid), fallback(*tasks_.at(pid)));
  });
}

// ---- the host's cgroups --------------------------------------------------------------------------------------------

Group* World::any_group() {
  const std::size_t i = random().in(0, groups_.size());
  return i == groups_.size() ? &root_group_ : groups_[i].get();
}

Group& World::make_group() {
  // Some that the class's array holds, some beyond it; one that goes leaves its id to the next.
  static constexpr int from[] = {2000, 8190, 100'000};
  int id = from[random().in(0, 2)];
  const auto taken = [&](int n) { return std::any_of(groups_.begin(), groups_.end(), [n](const auto& g) { return g->css.id == n; }); };
  while (taken(id)) id++;
  auto owned = std::make_unique<Group>();
  Group& g = *owned;
  g.css = {id, next_serial_++};
  g.parent = groups_.empty() ? &root_group_ : any_group();
  g.scx = {false, 100, 100'000, ~0ULL, 0};
  draw_files(g);
  groups_.push_back(std::move(owned));
  return g;
}

void World::draw_files(Group& g) {
  static constexpr unsigned weights[] = {1, 10, 100, 1000, 10'000}, periods[] = {1000, 10'000, 100'000, 1'000'000};
  auto& r = random();
  if (chance(2)) g.scx.weight = weights[r.in(0, 4)];
  g.scx.sched_idle = chance(8);
  if (!mix_.limits || chance(4)) {
    g.scx.bw_quota_us = ~0ULL;
    g.scx.bw_burst_us = 0;
  } else if (chance(2)) {
    g.scx.bw_period_us = periods[r.in(0, 3)];
    g.scx.bw_quota_us = std::max<u64>(1000, g.scx.bw_period_us * r.in(1, 80) / 100);
    g.scx.bw_burst_us = chance(2) ? 0 : g.scx.bw_quota_us * r.in(1, 100) / 100;
  }
  changed(&g);
}

void World::change_groups() {
  const std::size_t i = random().in(0, groups_.size() - 1);
  if (chance(3) && groups_.size() < groups_most) {
    make_group();
  } else if (chance(3) && groups_.size() > 1) {  // rmdir
    const task_group* g = groups_[i].get();
    const auto in = [g](const task_group& o) { return o.parent == g; };
    if (std::any_of(groups_.begin(), groups_.end(), [&](const auto& o) { return in(*o); }) ||
        std::any_of(module_.vms().begin(), module_.vms().end(), [&](const auto& v) { return in(v->group); }) ||
        std::any_of(tasks_.begin(), tasks_.end(), [g](const auto& t) { return t.second->sched_task_group == g; }))
      return;
    groups_.erase(groups_.begin() + static_cast<std::ptrdiff_t>(i));
  } else {
    draw_files(*groups_[i]);
  }
}

// ---- tasks and VMs -------------------------------------------------------------------------------------------------

Task& World::make(Role role, const char* name, Vm* vm, cpumask mask) {
  auto owned = std::make_unique<Task>();
  Task& p = *owned;
  p.pid = next_pid_++;
  std::snprintf(p.comm, sizeof(p.comm), "%s", name);
  p.role = role;
  p.mask = mask;
  p.cpus_ptr = &p.mask;
  p.nr_cpus_allowed = std::popcount(mask.bits);
  p.prio = 120;
  p.scx.weight = 100;
  p.__state = 1;
  p.vm = vm;
  p.sched_task_group = vm ? &vm->group : &root_group_;
  if (role == Role::realtime) p.policy = Policy::realtime;
  p.left = draw_work(p);
  tasks_.emplace(p.pid, std::move(owned));
  pids_.push_back(p.pid);
  return p;
}

std::uint64_t World::draw_cpus(unsigned most) {
  const unsigned n = static_cast<unsigned>(random().in(1, std::min(most, cpus())));
  std::uint64_t mask = 0;
  while (static_cast<unsigned>(std::popcount(mask)) < n) mask |= 1ULL << random().in(0, cpus() - 1);
  return mask;
}

Reservation World::draw_reservation(bool provider) {
  static constexpr unsigned periods[] = {1000, 5000, 10'000, 20'000, 50'000, 100'000, 300'000, 1'000'000};
  auto& r = random();
  const unsigned period = provider ? periods[r.in(1, 3)] : periods[r.in(0, chance(4) ? 7 : 5)];
  const unsigned permille = static_cast<unsigned>(provider ? r.in(20, 150) : chance(4) ? r.in(5, 20) : r.in(20, 400));
  return {std::max(period * permille / 1000, 50U), period};
}

void World::draw_policy(Vm& vm) {
  auto& r = random();
  const bool bounded = chance(4);
  const Time window = r.in(10, 1000) * ms;
  unsigned flags = 0;
  if (chance(4)) flags |= SPARE_VM_PAYBACK;
  if (chance(4)) flags |= SPARE_VM_NOWAIT;
  if (!chance(4)) flags |= SPARE_VM_HASTEN;
  if (!mix_.costs || !chance(6)) flags |= SPARE_VM_CHARGE;
  if (mix_.guards) {
    const u32 period = static_cast<u32>(r.in(1, chance(4) ? 100 : 8) * 1000);
    spare_guard_configure(&vm.abi.guard, chance(3) ? 0 : spare_cfg_pack(std::max<u32>(50, static_cast<u32>(period * r.in(5, 200) / 1000)), period), now());
  }
  if (mix_.costs) vm.abi.interval_ns = chance(2) ? 500 * ms : r.in(1, 2000) * 500 * us;
  module_.policy(vm, r.in(1, 20) * 200 * us, chance(4) ? static_cast<unsigned>(r.in(1, 4)) : 0, window, bounded ? window / r.in(4, 50) : 0, flags);
}

void World::draw_use(Vm& vm) {
  std::vector<Vm*> list;
  for (const auto& p : module_.vms())
    if (p->config.provide && p.get() != &vm && chance(2)) list.push_back(p.get());
  module_.use(vm, list);
}

Vm* World::make_vm(bool provider) {
  Vm& vm = module_.make_vm();
  vm.group.parent = any_group();
  draw_policy(vm);
  // (It may not fit.)
  set(vm, {draw_reservation(provider), provider, provider ? all() : draw_cpus(3)});
  if (!provider) {
    if (mix_.providers) draw_use(vm);
    make_threads(vm);
  }
  changed(vm);
  return &vm;
}

void World::make_threads(Vm& vm) {
  auto& r = random();
  const std::uint64_t mask = vm.config.cpus ? vm.config.cpus : all();
  const bool named = !chance(4), bound = chance(2);
  unsigned n = 0;
  for (unsigned i = 0; i < cpus(); i++) {
    if (!(mask >> i & 1)) continue;
    char name[16];
    std::snprintf(name, sizeof(name), "CPU %u/KVM", n++);
    make(Role::vcpu, named ? name : "qemu", &vm, {bound ? 1ULL << i : mask});
  }
  const bool stray = mix_.strays && chance(2);
  const std::uint64_t others = all() & ~mask;  // (emulatorpin)
  Task& net = make(Role::net, chance(2) ? "vhost-1" : "iothread", &vm, {!stray ? mask : others && chance(2) ? others : draw_cpus(2)});
  if (chance(2)) net.flags = worker_flags;
  for (unsigned more = chance(3) ? static_cast<unsigned>(mix_.guards ? r.in(1, 6) : 1) : 0; more; more--) make(Role::net, "vhost-2", &vm, {mask}).flags = worker_flags;
  if (chance(2)) make(Role::sleeper, "qemu", &vm, {stray ? all() : mask});
  if (mix_.crowd && chance(2))
    for (unsigned i = static_cast<unsigned>(chance(2) ? r.in(100, 300) : r.in(5, 60)); i; i--) make(Role::burner, "crowd", &vm, {mask});
}

Vm* World::any_vm(bool provider) {
  std::vector<Vm*> some;
  for (const auto& v : module_.vms())
    if (provider == v->config.provide && !v->ends) some.push_back(v.get());
  return some.empty() ? nullptr : some[random().in(0, some.size() - 1)];
}

Task* World::any_task() {
  for (int tries = 0; tries < 8; tries++) {
    Task& p = *tasks_.at(pids_[random().in(0, pids_.size() - 1)]);
    if (!p.dead && !p.moving && p.storage && !(p.flags & kthread_flags)) return &p;
  }
  return nullptr;
}

int World::any_cpu() {
  std::vector<int> some;
  for (unsigned i = 0; i < cpus(); i++)
    if (const Cpu& c = cpu(static_cast<int>(i)); !c.dead && !c.busy) some.push_back(c.id);
  return some.empty() ? -1 : some[random().in(0, some.size() - 1)];
}

// ---- what tasks do -------------------------------------------------------------------------------------------------

Time World::draw_work(const Task& p) {
  auto& r = random();
  switch (p.role) {
    case Role::vcpu:
    case Role::burner: return r.in(100 * us, 20 * ms);
    case Role::sleeper: return chance(4) ? r.in(us, 8 * ms) : r.in(us, 300 * us);
    case Role::net: return p.vm && p.vm->abi.guard.cfg && chance(3) ? r.in(50 * us, 5 * ms) : r.in(3 * us, 60 * us);
    case Role::kthread: return mix_.kernel && chance(3) ? r.in(100 * us, 30 * ms) : r.in(2 * us, 200 * us);
    case Role::realtime: return chance(8) ? r.in(ms, 60 * ms) : r.in(5 * us, 2 * ms);
    case Role::hotplug: return r.in(5 * us, 50 * us);
    case Role::hog: return 900 * ms;
    case Role::idle:
    case Role::stopper: break;
  }
  return us;
}

void World::sleep(Task& p, Time length) {
  at(now() + length, [this, pid = p.pid, sleeps = p.sleeps + 1] {
    const auto t = tasks_.find(pid);
    if (t != tasks_.end() && t->second->sleeps == sleeps) wake(here_cpu(), *t->second);
  });
}

void World::work_done(Task& p) {
  auto& r = random();
  const int on = here_cpu();
  p.left = draw_work(p);
  if (p.killed) {
    if (p.migration_disabled) enable_migration(p);
    exit(on);
    return;
  }
  switch (p.role) {
    case Role::net: {
      if (p.vm) {
        for (const int pid : pids_)
          if (Task& v = *tasks_.at(pid); v.vm == p.vm && v.role == Role::vcpu && v.storage) {
            wake(on, v);
            if (chance(2)) break;
          }
        if (p.drained != p.vm->abi.rx_seq) {
          p.drained = p.vm->abi.rx_seq;
          break;
        }
      }
      if (p.migration_disabled) enable_migration(p);
      block(on);
      return;
    }
    case Role::hotplug: hotplug_step(p); return;
    case Role::hog:
      sleep(p, 100 * ms);
      block(on);
      return;
    case Role::sleeper:
    case Role::kthread:
    case Role::realtime:
      if (p.migration_disabled) enable_migration(p);
      if (p.child && chance(10)) {
        exit(on);
        return;
      }
      if (chance(8)) {  // it hands over to another one
        if (Task* other = any_task(); other && other->role == Role::sleeper) wake(on, *other);
      }
      if (p.role == Role::kthread && !cpu(on).active) {
        sleep(p, 20 * ms);
      } else if (p.policy == Policy::realtime) {  // (A few of them leave the CPU to others, too.)
        sleep(p, std::max<Time>(3 * p.left, r.in(20 * us, 10 * ms)));
      } else {
        sleep(p, chance(10) ? r.in(ms, 200 * ms) : r.in(20 * us, 10 * ms));
      }
      block(on);
      return;
    case Role::vcpu:
    case Role::burner:
      if (p.migration_disabled) {
        enable_migration(p);
      } else if (mix_.pinning && chance(8)) {
        disable_migration(p);
        p.left = r.in(us, 3 * ms);
      } else if (p.role == Role::vcpu && chance(3)) {  // HLT
        if (chance(2)) sleep(p, r.in(20 * us, 30 * ms));
        block(on);
        return;
      } else if (chance(20)) {
        yield(on);
        return;
      } else if (p.child && chance(20)) {
        exit(on);
        return;
      }
      break;
    case Role::idle:
    case Role::stopper: return;
  }
  run_for(p);
  interrupt_ends(on);
}

void World::switched(Cpu& c, Task& prev, Task& next) {
  module_.switched(c, prev, next);
  check_kthreads(c);
  account(prev);
  next.accounted = now();
  if (next.role == Role::net) network_runs(c, next);
  // (Each thread that the class takes for one may have a grant for the same packet.)
  if (Server* s = next.vm && class_task(&next).net ? module_.at(c.id, next.vm->slot[c.id]) : nullptr) s->loan = {};
}

// What it has run for so far is its VM's.
void World::account(Task& p) {
  if (p.vm) (p.policy == Policy::ext ? p.vm->ran : p.vm->ran_realtime) += now() - p.accounted;
  if (!p.vm && p.policy == Policy::ext && p.sched_task_group)
    for (task_group* g = p.sched_task_group; g != &root_group_; g = g->parent) static_cast<Group*>(g)->ran += now() - p.accounted;
  p.accounted = now();
}

// It is no use of the thread that it was on top of.
void World::softirq_took(Cpu& c, Time length) {
  module_.softirq(c, length);
  c.curr->accounted += length;
}

void World::call_ends() {
  for (unsigned i = 0; i < cpus(); i++) {
    Paid& paid = paid_[i];
    const int id = static_cast<int>(i);
    const Time above = module_.above(id, now());
    const class_charge charge = class_charges(id);
    const bool pays = charge.payer != SPARE_NO_SLOT;
    if (paid.pays) paid.due += now() - paid.at - (above - paid.above);
    paid.changes += (pays != paid.pays) + 10 * (std::exchange(paid.next_look, charge.next_look_ns) != charge.next_look_ns);
    paid.pays = pays;
    paid.at = now();
    paid.above = above;
  }
}

void World::gone(Task& p) {
  std::erase(pids_, p.pid);
  at(now() + 100 * ms, [this, pid = p.pid] { tasks_.erase(pid); });
}

// ---- for who looks -------------------------------------------------------------------------------------------------

void World::describe() {
  print_summary();
  for (const int pid : pids_) {
    Task& p = *tasks_.at(pid);
    const class_task_view t = p.storage ? class_task(&p) : class_task_view{};
    std::printf("%s/%d: VM %llu, CPUs %llx, on %u, %s, queue %llx, %sran %llu us\n", p.comm, pid, p.vm ? p.vm->abi.id : 0, p.mask.bits, p.thread_info.cpu,
                cpu_of(p).curr == &p ? "runs" : p.on_rq ? "waits" : "sleeps", p.in ? p.in->id : 0, t.counted ? "counted, " : "", p.ran / us);
  }
  for (const auto& vm : module_.vms()) {
    const Reservation& r = vm->config.reservation;
    std::printf("VM %llu: %u/%u us, CPUs %llx, slots", vm->abi.id, r.runtime_us, r.period_us, vm->config.cpus);
    for (unsigned i = 0; i < cpus(); i++) std::printf(" %d", static_cast<std::int16_t>(vm->slot[i]));
    std::printf("%s, unchanged for %llu us\n", vm->config.provide ? ", provides" : "", (now() - vm->since) / us);
  }
}

void World::print_summary() const {
  spare_stats sum{};
  for (const spare_stats* st : module_.all_stats()) {
    sum.throttled += st->throttled;
    sum.misses += st->misses;
    sum.granted += st->granted;
    sum.denied += st->denied;
    sum.blocked += st->blocked;
    sum.expired += st->expired;
    sum.unasked += st->unasked;
    sum.hastened += st->hastened;
    sum.migrated += st->migrated;
    sum.overruns += st->overruns;
    sum.stray_ns += st->stray_ns;
    sum.valve_ns += st->valve_ns;
    sum.repaid_ns += st->repaid_ns;
  }
  u64 held = 0;
  for (const auto& vm : module_.vms()) held += vm->abi.guard.held;
  std::printf(" ");
  for (const Kind& k : kinds)
    if (mix_.*k.is) std::printf(" %s", k.name);
  std::printf("%s\n", mix_.providers ? " providers" : "");
  std::printf("  %u CPUs, %zu VMs, %zu tasks: throttled %llu, misses %llu, granted %llu, denied %llu, blocked %llu, expired %llu, unasked %llu, ",
              static_cast<unsigned>(hotplug_.size()), module_.vms().size(), pids_.size(), sum.throttled, sum.misses, sum.granted, sum.denied,
              sum.blocked, sum.expired, sum.unasked);
  std::printf("hastened %llu, migrated %llu, overruns %llu, strays %llu us, valve %llu us, repaid %llu us, held %llu, promised %llu\n", sum.hastened, sum.migrated, sum.overruns,
              sum.stray_ns / us, sum.valve_ns / us, sum.repaid_ns / us, held, promised_);
}

void World::run(std::uint64_t most) {
  while (events() < most) {
    const int id = step();
    check_cpu(id);
    if (now() - checked_ < ms) continue;
    checked_ = now();
    check_all();
  }
}

}  // namespace spare::model
