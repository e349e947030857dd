// SPDX-License-Identifier: GPL-2.0-only
//
// What must hold, whatever happens. Looked at between events, when no CPU is in the scheduler.
#include <algorithm>
#include <map>
#include <tuple>

#include <sched_spare/debt.h>
#include <sched_spare/guard.h>
#include <sched_spare/pool.h>

#include "world.hpp"

namespace spare::model {

namespace {

constexpr Time soon = ms, late = 10 * ms, watchdog = 30 * second;
constexpr Time loan_more = ms;  // a timer that is late, switches
// The class looks for who may run elsewhere among so many first in a queue, and now and then among more.
constexpr unsigned look_first = 32, look_most = 1024;
constexpr Time look_rest = 150 * ms;
// It looks at so many of those who are parked in one go.
constexpr unsigned park_look = 512;

constexpr std::uint64_t queue_host = 1ULL << 40, queue_server = 1ULL << 41, queue_kthread = 1ULL << 42, queue_park = 1ULL << 43, queue_guard = 1ULL << 44;

// Who stand before p in its queue.
unsigned before(const Task& p) {
  unsigned n = 0;
  for (const Node* at = p.node.prev; at != &p.in->head; at = at->prev) n += at->task != nullptr;
  return n;
}

}  // namespace

// A higher class has it, or had it a moment ago.
bool World::is_taken(const Cpu& c) const { return c.curr->policy == Policy::realtime || now() - c.realtime_at < late; }

void World::check_cpu(int id) {
  u32 slot = 0;
  if (const char* wrong = class_check(id, &slot)) fail("CPU %d, slot %u: %s", id, slot, wrong);
  check_kthreads(cpu(id));
  check_paid(id);
  for (slot = 0; slot < SPARE_SLOTS; slot++)
    if (Server* s = module_.at(id, slot)) {
      check_loan(*s);
      check_period(*s);
    }
}

// DEBT-1: who begins a period and owes something pays, unless overrun has left no more than what a period keeps. (A CPU that comes back has servers whose
// first period is still to come.)
void World::check_period(Server& s) {
  const spare_server& a = s.abi;
  const u64 settled = a.st.repaid_ns + a.st.waived_ns;
  const auto& was = s.period;
  if (was.owes && a.debt.until_ns && was.cfg && was.cfg == a.cfg_seen && spare_before(was.d, a.cbs.d_ns) && was.settled == settled &&
      a.cbs.q_ns > static_cast<s64>(a.cbs.runtime_ns / SPARE_DEBT_KEEP))
    fail("a period of VM %llu begins on CPU %u, and pays nothing of %llu ns", s.vm->abi.id, s.cpu, a.debt.owed_ns);
  s.period = {a.cfg_seen, a.cbs.d_ns, settled, a.debt.owed_ns && a.debt.spread_ns};
}

// Conservation (ACC-1): all that passes while a server pays is charged once, but for softirqs and higher classes.
void World::check_paid(int id) {
  Paid& paid = paid_[static_cast<std::size_t>(id)];
  const u64 used = module_.used(id);
  const Time charged = used - paid.used;
  paid.unknown |= bypassed_;
  if (paid.pays) return;
  if (!paid.unknown && (charged + paid.changes * us < paid.due || paid.due + paid.changes * us < charged))
    fail("CPU %d: its servers were charged %llu ns, and what ran in them was %llu", id, charged, paid.due);
  if (paid.changes < 100 && !paid.unknown) return;
  paid.used = used;
  paid.due = paid.changes = 0;
  paid.unknown = false;
}

// Where a server is ready all the time, pinned kernel threads have the host's share, and a burst (CBS-9).
void World::check_kthreads(Cpu& c) {
  Busy& b = busy_[static_cast<std::size_t>(c.id)];
  const bool runs = c.curr->role == Role::kthread;
  if (b.runs) b.ran += now() - b.seen;
  b.seen = now();
  b.runs = runs;
  // (Since when a server has been ready is known from one look to the next.)
  const bool free = !class_cpu(c.id).ready || is_taken(c) || !c.active || bypassed_;
  if (free || b.free) {
    b.since = now();
    b.ran = 0;
  }
  b.free = free;
  if (b.ran > 6 * ms + (now() - b.since) / 10)
    fail("CPU %d: kernel threads have run for %llu us of %llu, and a server was ready", c.id, b.ran / us, (now() - b.since) / us);
}

void World::check_all() {
  std::map<std::tuple<unsigned, unsigned, std::uint64_t>, unsigned> counted;
  std::map<const Vm*, unsigned> throttled;
  std::uint64_t servers = 0;
  for (unsigned i = 0; i < cpus(); i++) check_cpu(static_cast<int>(i));
  for (const int pid : pids_) {
    Task& p = *tasks_.at(pid);
    if (!p.storage) continue;
    check_task(p);
    const class_task_view t = class_task(&p);
    if (t.counted) counted[{t.cpu, t.slot, t.server_id}]++;
  }
  for (unsigned i = 0; i < cpus(); i++) {
    Cpu& c = cpu(static_cast<int>(i));
    servers += class_cpu(c.id).servers;
    for (unsigned slot = 0; slot < SPARE_SLOTS; slot++) {
      const Server* s = module_.at(c.id, slot);
      if (!s) continue;
      throttled[s->vm] += s->abi.state == SPARE_THROTTLED;
      const unsigned n = counted[{i, slot, s->abi.id}];
      if (s->abi.net_queued != n) fail("CPU %u, slot %u: net_queued %u, and %u network threads are counted", i, slot, s->abi.net_queued, n);
    }
    if (c.curr != &c.idle || !c.active || now() - c.idle_since < soon || is_taken(c)) continue;
    for (const int pid : pids_)
      if (Task& p = *tasks_.at(pid); p.storage && p.on_rq && p.policy == Policy::ext && now() - std::max(p.woken, p.queued_at) > soon) check_idle(c, p);
  }
  if (servers != class_servers_total()) fail("servers_total is %llu, and there are %llu", class_servers_total(), static_cast<u64>(servers));
  if (servers != class_regulated()) fail("of what regulates the host %llu are servers, and there are %llu", class_regulated(), static_cast<u64>(servers));
  for (unsigned i = 0; i < cpus(); i++) account(*cpu(static_cast<int>(i)).curr);
  for (const auto& vm : module_.vms()) {
    if (vm->abi.nr_throttled != throttled[vm.get()])
      fail("VM %llu: nr_throttled %u, and %u are", vm->abi.id, vm->abi.nr_throttled, throttled[vm.get()]);
    check_use(*vm);
    check_debt(*vm);
    check_guard(*vm);
  }
  if (bypassed_) changed_all();
  for (const auto& g : groups_) check_group(*g);
}

void World::check_task(Task& p) {
  if (p.policy != Policy::ext || !p.on_rq || running(p)) return;
  if (!p.in) fail("%s/%d is runnable and in no queue", p.comm, p.pid);
  if (now() - p.woken > watchdog) fail("%s/%d has waited for 30 s in queue %llx", p.comm, p.pid, p.in->id);
  if (p.in->id & queue_server && mix_.costs && !mix_.realtime && !mix_.hog && !mix_.bypass && now() - p.woken > watchdog / 2)
    fail("%s/%d has waited for 15 s in queue %llx", p.comm, p.pid, p.in->id);
  // GUARD-1: more than that is never owed. (Where its CPU has another server, or none any more, or a look has let go of many.)
  if (p.in->id & queue_guard && !is_taken(cpu_of(p)) && now() - std::max(p.woken, p.queued_at) > SPARE_GUARD_BACK_NS + 100 * ms + 2 * late)
    fail("%s/%d has waited for its VM's limit for %llu us", p.comm, p.pid, (now() - std::max(p.woken, p.queued_at)) / us);
  if (!(p.in->id & queue_server) || now() - std::max(p.woken, p.queued_at) < late) return;
  // (Who was queued on a CPU that a higher class has is not told of before that lets go.)
  if (is_taken(cpu_of(p))) return;
  const Server* s = module_.by_queue(p.in->id);
  if (!s) fail("%s/%d waits in queue %llx, which is no server's", p.comm, p.pid, p.in->id);
  Cpu& c = cpu(static_cast<int>(s->cpu));
  if (s->abi.state == SPARE_INACTIVE && !s->withdrawn && c.active && !is_taken(c))
    fail("%s/%d waits in CPU %u, slot %u, which is INACTIVE", p.comm, p.pid, s->cpu, s->slot);
  if (s->abi.state == SPARE_THROTTLED && now() - s->abi.since_ns > late) check_siblings(p, *s);
}

// p waits in s, THROTTLED: no server of the VM that may run it has budget and nothing to do (CBS-8).
void World::check_siblings(Task& p, const Server& s) {
  if (s.withdrawn || now() - s.vm->since < late) return;
  for (unsigned i = 0; i < cpus(); i++) {
    Cpu& c = cpu(static_cast<int>(i));
    Server* o = module_.at(c.id, s.vm->slot[i]);
    if (!o || o == &s || !c.active || is_taken(c) || p.migration_disabled || !allowed(p, c.id)) continue;
    if (!o->abi.dsq || o->abi.state != SPARE_INACTIVE || o->abi.cbs.q_ns <= 0 || o->abi.taken_ns || o->abi.debt_ns) continue;
    const unsigned n = before(p);
    if (n >= look_most) continue;
    if (o->unused.used != o->abi.st.used_ns || o->unused.since < s.vm->since) o->unused = {now(), o->abi.st.used_ns};
    // (It is offered each time that s is THROTTLED.)
    if (n < look_first || now() - o->unused.since > look_rest + s.vm->config.reservation.period_us * us)
      fail("VM %llu has budget on CPU %u and nothing to do there, and %s/%d waits on CPU %u", s.vm->abi.id, i, p.comm, p.pid, s.cpu);
  }
}

// c is idle, and p has waited for some time.
void World::check_idle(Cpu& c, Task& p) {
  const bool own = &cpu_of(p) == &c;
  if (running(p) || !p.in || (!own && (p.migration_disabled || !allowed(p, c.id)))) return;
  const std::uint64_t id = p.in->id;
  const unsigned of = static_cast<unsigned>(id & 0xffff);
  if (p.in == c.local.get()) fail("CPU %d is idle, and %s/%d waits in its local queue", c.id, p.comm, p.pid);
  if (id & queue_kthread && of == static_cast<unsigned>(c.id)) fail("CPU %d is idle, and kernel thread %s/%d waits", c.id, p.comm, p.pid);
  // Another CPU's tick says so, at the latest. (One that a higher class has has none for us.)
  const auto late_there = [&] {
    const Time since = now() - std::max({p.woken, p.queued_at, c.idle_since});
    if (since <= late || is_taken(cpu(static_cast<int>(of)))) return false;
    const unsigned n = before(p);
    return n < look_first || (n < look_most && since > late + look_rest);
  };
  if (id & queue_host && id < queue_server && (of == static_cast<unsigned>(c.id) || late_there()))
    fail("CPU %d is idle, and host task %s/%d waits in CPU %u's queue", c.id, p.comm, p.pid, of);
  if (id & queue_park && of == static_cast<unsigned>(c.id)) {
    const Time due = class_cpu(c.id).park_ns;
    if (!due || (due + soon < now() && now() - c.looked > soon)) fail("CPU %d is idle, and parked %s/%d is due", c.id, p.comm, p.pid);
    // (A worker may wait for its VM's limit.)
    if (const Vm* vm = Module::effective(p); vm && !(vm->abi.guard.cfg && p.flags & worker_flags) && p.queued_at > vm->since && p.in->n <= park_look) check_parked(c, p, *vm, due);
  }
  // Another CPU's, which a VM has for long: the tick sees to it that the refill is looked at there.
  if (id & queue_park && of != static_cast<unsigned>(c.id) && !is_taken(cpu(static_cast<int>(of))) && class_cpu(static_cast<int>(of)).cur != SPARE_NO_SLOT) {
    const Time due = class_cpu(static_cast<int>(of)).park_ns;
    if (due && now() - std::max({due, c.idle_since, p.queued_at}) > late + 2 * jiffy && due < now())
      fail("CPU %d is idle, and parked %s/%d of CPU %u is due", c.id, p.comm, p.pid, of);
  }
  if (!(id & queue_server) || is_taken(cpu_of(p))) return;  // (As in check_task().)
  const Server* s = module_.by_queue(id);
  if (!s || static_cast<int>(s->cpu) != c.id) return;
  if (s->abi.state != SPARE_THROTTLED) fail("CPU %d is idle, and %s/%d waits in slot %u, which is ready", c.id, p.comm, p.pid, s->slot);
  if (s->abi.cbs.d_ns + soon < now()) fail("CPU %d is idle, and slot %u, for which %s/%d waits, is due", c.id, s->slot, p.comm, p.pid);
}

// A stray waits on an idle CPU: not beyond the next budget of one of its VM's servers, each of which may pay for it (CBS-11). (Where the queue was longer the next
// look may come late.)
void World::check_parked(Cpu& c, Task& p, const Vm& vm, Time due) {
  module_.each_server(vm, [&](const Server& s) {
    const spare_server& a = s.abi;
    if (s.withdrawn || !a.cfg_seen || a.cbs.d_ns < now() || !cpu(static_cast<int>(s.cpu)).active || is_taken(cpu(static_cast<int>(s.cpu)))) return;
    const auto owed = a.taken_ns + static_cast<long long>(a.debt_ns) - a.cbs.q_ns;
    const Time budget = a.cbs.d_ns + (owed > 0 ? static_cast<Time>(owed) / a.cbs.runtime_ns * a.cbs.period_ns : 0);
    if (due > budget + late + soon)
      fail("CPU %d is idle, and %s/%d of VM %llu waits %llu us longer than for the next budget, CPU %u's", c.id, p.comm, p.pid, vm.abi.id, (due - budget) / us, s.cpu);
  });
}

// Of a VM that nobody has changed: over 20 periods and more it has no more than its reservation, what it borrowed, and two budgets.
void World::check_use(Vm& vm) {
  Time boost = 0, valve = 0, advance = 0;
  unsigned n = 0;
  for (unsigned i = 0; i < cpus(); i++) {
    const Server* s = module_.at(static_cast<int>(i), vm.slot[i]);
    if (!s) continue;
    n++;
    // A higher class has that CPU: what is configured is not taken over, and strays may take what the server has not had.
    if (s->abi.cfg != s->abi.cfg_seen || is_taken(cpu(static_cast<int>(i)))) vm.since = now();
    boost += s->abi.st.boost_ns;
    valve += s->abi.st.valve_ns;
  }
  const Time period = vm.config.reservation.period_us * us, runtime = vm.config.reservation.runtime_us * us;
  // What strays have taken they may use much later, from an earlier reservation's budget, too.
  vm.runtime_most = std::max(vm.runtime_most, runtime);
  for (const int pid : pids_)
    if (tasks_.at(pid)->vm == &vm) advance += std::min(vm.runtime_most, 2 * ms);
  if (std::any_of(hotplug_.begin(), hotplug_.end(), [](Hotplug h) { return h != Hotplug::on; })) vm.since = now();
  if (vm.checked && vm.checked >= vm.since && n && now() - vm.checked < 20 * period) return;
  if (vm.checked && vm.checked > vm.since + 2 * period + 2 * late && n) {
    const Time window = now() - vm.checked, used = vm.ran - vm.ran_then;
    const Time most = n * runtime * (window / period + 3) + (boost - vm.boost_then) + (valve - vm.valve_then) + advance + n * ms;
    if (used > most)
      fail("VM %llu of %llu/%llu us on %u CPUs has used %llu us in %llu us, of which %llu us are borrowed", vm.abi.id, runtime / us, period / us, n,
           used / us, window / us, (boost - vm.boost_then) / us);
  }
  vm.checked = now();
  vm.ran_then = vm.ran;
  vm.boost_then = boost;
  vm.valve_then = valve;
}

// DEBT-1: what a VM was charged is paid, waived, or owed by somebody; and where nobody has changed it, its use and what it has paid are within its
// reservation, the longer the nearer.
void World::check_debt(Vm& vm) {
  const spare_share& share = vm.share;
  u64 settled = vm.settled_ns, owed = share.left_ns;
  module_.each_server(vm, [&](const Server& s) {
    settled += s.abi.st.repaid_ns + s.abi.st.waived_ns;
    owed += share.each_ns - s.had_ns + s.abi.debt.owed_ns;
  });
  if (share.charged_ns != settled + owed)
    fail("VM %llu was charged %llu ns, has settled %llu and owes %llu", vm.abi.id, share.charged_ns, settled, owed);
  if (share.known && (share.seen_ns > vm.cost_ns || share.charged_ns > vm.cost_ns))
    fail("VM %llu has cost %llu ns and was charged %llu", vm.abi.id, vm.cost_ns, share.charged_ns);
  auto& l = vm.long_run;
  const Time period = vm.config.reservation.period_us * us, runtime = vm.config.reservation.runtime_us * us;
  Time done = 0, valve = 0, unused = 0, advance = 0;
  unsigned n = 0;
  module_.each_server(vm, [&](const Server& s) {
    n++;
    done += s.abi.st.used_ns + s.abi.st.stray_ns + s.abi.st.repaid_ns;
    valve += s.abi.st.valve_ns;
    if (s.abi.cfg_seen && s.abi.state == SPARE_INACTIVE) unused += spare_debt_unused(&s.abi.cbs, now());
  });
  for (const int pid : pids_)
    if (tasks_.at(pid)->vm == &vm) advance += std::min(vm.runtime_most, 2 * ms);
  if (!n || !period || l.begun < vm.since + 2 * period + 2 * late || l.servers != n) {
    l = {now(), done, unused, valve, n};
    return;
  }
  const Time window = now() - l.begun;
  const Time most = n * runtime * (window / period + 3) + l.unused + (valve - l.valve) + advance + n * ms;
  if (done > l.done + most)
    fail("VM %llu of %llu/%llu us on %u CPUs has used and paid %llu us in %llu us", vm.abi.id, runtime / us, period / us, n, (done - l.done) / us, window / us);
}

// GUARD-1: of a VM that nobody has changed, over 8 periods and more its workers have what it may use, and what each can overrun.
void World::check_guard(Vm& vm) {
  auto& l = vm.network;
  const spare_guard& g = vm.abi.guard;
  const Time period = (g.cfg & 0xffffffff) * us, runtime = (g.cfg >> 32) * us;
  if (!g.cfg || mix_.costs || bypassed_ || l.begun < vm.since) {
    l = {now(), g.used_ns};
    return;
  }
  const Time window = now() - l.begun;
  if (window < 8 * period) return;
  // A turn each when something is left, a moment when nothing is; and what waits for its switch, or runs on a CPU whose timer is late.
  const auto workers = static_cast<Time>(std::count_if(tasks_.begin(), tasks_.end(), [&](const auto& t) { return t.second->vm == &vm && t.second->flags & worker_flags; }));
  const Time most = runtime * (window / period + 2) + workers * ms + (window / SPARE_GUARD_BACK_NS + 1) * (SPARE_GUARD_TURN_NS + workers * 100 * us);
  if (g.used_ns - l.used > most)
    fail("network work of VM %llu, limited to %llu/%llu us, has used %llu us in %llu us", vm.abi.id, runtime / us, period / us, (g.used_ns - l.used) / us, window / us);
  l = {now(), g.used_ns};
}

// Of a cgroup with cpu.max where nothing has changed: over 20 periods and more its tasks have no more than quota and burst, and two quotas. (What the
// valve lets them have in advance they pay later.)
void World::check_group(Group& g) {
  const Time period = g.scx.bw_period_us * us, quota = g.scx.bw_quota_us * us;
  if (g.scx.bw_quota_us == ~0ULL || std::any_of(hotplug_.begin(), hotplug_.end(), [](Hotplug h) { return h != Hotplug::on; })) g.since = now();
  if (g.checked && g.checked >= g.since && now() - g.checked < 20 * period) return;
  if (g.checked && g.checked > g.since + 2 * period + late) {
    const Time window = now() - g.checked, used = g.ran - g.ran_then;
    const auto tasks = static_cast<Time>(std::count_if(tasks_.begin(), tasks_.end(), [&](const auto& t) { return t.second->sched_task_group != &root_group_; }));
    const Time valve = tasks * 50 * us * (window / (10 * second) + 1);
    const Time most = quota * (window / period + 3) + g.scx.bw_burst_us * us + cpus() * 4 * ms + window / 1000 + valve;
    if (used > most) fail("cgroup %d of %llu/%llu us has used %llu us in %llu us", g.css.id, quota / us, period / us, used / us, window / us);
  }
  g.checked = now();
  g.ran_then = g.ran;
}

// While none of its network threads runs there, what s borrows for one packet is a grant at most (SPARE-4).
void World::check_loan(Server& s) {
  auto& loan = s.loan;
  const spare_server& a = s.abi;
  const bool same = loan.seen && loan.granted == a.st.granted && loan.marked == a.mark.since_ns && s.vm->since < loan.seen;
  const Cpu& c = cpu(static_cast<int>(s.cpu));
  if (a.lender == SPARE_NO_SLOT || (c.curr->vm == s.vm && c.curr->role == Role::net) || bypassed_ || is_taken(c)) {
    loan = {};
  } else if (!same) {
    loan = {a.st.granted, a.mark.since_ns, now(), a.st.boost_ns};
  } else if (a.st.boost_ns - loan.boost > s.vm->abi.grant_ns + loan_more) {
    fail("VM %llu has borrowed %llu us on CPU %u for one packet without its network thread, and a grant is %llu us", s.vm->abi.id,
         (a.st.boost_ns - loan.boost) / us, s.cpu, s.vm->abi.grant_ns / us);
  }
}

// The first provider from which s may borrow at once; nullptr: none, or something else may come in between.
const Server* World::free_provider(const Server& s) {
  const Vm& vm = *s.vm;
  if (mix_.realtime || mix_.hog || bypassed_ || vm.abi.gain_ns || vm.abi.flags & SPARE_VM_PAYBACK || s.withdrawn ||
      s.abi.lender != SPARE_NO_SLOT || s.abi.rx_denied == vm.abi.rx_seq)
    return nullptr;
  for (unsigned i = 0; i < SPARE_USE_MAX && s.abi.use[i] != SPARE_NO_SLOT; i++) {
    const Server* v = module_.at(static_cast<int>(s.cpu), s.abi.use[i]);
    const bool free = v && v->abi.dsq && !v->withdrawn && v->abi.borrower == SPARE_NO_SLOT && v->abi.state == SPARE_INACTIVE;
    if (free && !spare_pool_delay(&v->abi.cbs, now())) return v;
  }
  return nullptr;
}

// A packet has woken p, which waits in s, THROTTLED. With a provider that is fresh and free p runs within the provider's period (SPARE-3), unless
// a higher class takes the CPU or somebody changes what this rests on.
void World::expect_service(Task& p, const Server& s) {
  const Vm& vm = *s.vm;
  const Server* v = vm.abi.chances || vm.abi.guard.cfg ? nullptr : free_provider(s);
  if (!v) return;
  promised_++;
  const Time came = now();
  at(came + v->vm->config.reservation.period_us * us + (mix_.kernel ? 20 * ms : 2 * ms), [this, &vm, provider = v->vm, came, pid = p.pid, queue = s.abi.dsq, id = s.cpu] {
    const auto t = tasks_.find(pid);
    if (t == tasks_.end() || vm.since > came || provider->since > came || !cpu(static_cast<int>(id)).active) return;
    const Task& task = *t->second;
    if (task.net_ran < came && task.woken < came && task.in && task.in->id == queue)
      fail("%s/%d of VM %llu has waited for first service since %llu us ago, and a provider was free", task.comm, pid, vm.abi.id, (now() - came) / us);
  });
}

// A network thread begins to run. As a stray it serves what has come for each server of its VM (SPARE-9).
void World::network_runs(Cpu& c, Task& p) {
  p.net_ran = now();
  Vm* vm = Module::effective(p);
  if (!vm || vm->rx_seen == vm->abi.rx_seq) return;
  vm->rx_seen = vm->abi.rx_seq;
  if (vm->slot[c.id] != SPARE_NO_SLOT || !class_task(&p).net) return;
  for (unsigned i = 0; i < cpus(); i++)
    if (const Server* s = module_.at(static_cast<int>(i), vm->slot[i])) expect_loan(*s);
}

// A packet for s was served elsewhere just now. If s is THROTTLED with threads, one of which the packet is perhaps for, and a provider is fresh and
// free, s borrows within the provider's period.
void World::expect_loan(const Server& s) {
  const spare_server& a = s.abi;
  if (a.state != SPARE_THROTTLED || a.net_queued || a.rx_served == s.vm->abi.rx_seq || !cpu(static_cast<int>(s.cpu)).active) return;
  const auto waits = [this](std::uint64_t queue, Time since) {
    return std::any_of(pids_.begin(), pids_.end(), [&](int pid) {
      const Task& t = *tasks_.at(pid);
      return t.storage && t.in && t.in->id == queue && std::max(t.woken, t.queued_at) < since;
    });
  };
  const Server* v = waits(a.dsq, now()) ? free_provider(s) : nullptr;
  if (!v) return;
  promised_++;
  struct Then {
    unsigned cpu, slot, provider;
    std::uint64_t id, provider_id, queue, lent;
    Time came, since, boost;
  };
  const Then then{s.cpu, s.slot, v->slot, a.id, v->abi.id, a.dsq, v->abi.st.granted, now(), a.since_ns, a.st.boost_ns};
  at(now() + v->vm->config.reservation.period_us * us + (mix_.kernel ? 20 * ms : 2 * ms), [this, then, waits] {
    const Server *o = module_.at(static_cast<int>(then.cpu), then.slot), *p = module_.at(static_cast<int>(then.cpu), then.provider);
    if (!o || !p || o->abi.id != then.id || p->abi.id != then.provider_id || o->withdrawn || !cpu(static_cast<int>(then.cpu)).active) return;
    if (o->vm->since > then.came || p->vm->since > then.came || bypassed_) return;
    if (o->abi.state == SPARE_THROTTLED && o->abi.since_ns == then.since && o->abi.st.boost_ns == then.boost && p->abi.st.granted == then.lent &&
        waits(then.queue, then.came))
      fail("VM %llu waits on CPU %u for what a stray served it %llu us ago, and a provider was free", o->vm->abi.id, then.cpu, (now() - then.came) / us);
  });
}

}  // namespace spare::model
