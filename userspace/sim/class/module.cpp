// SPDX-License-Identifier: GPL-2.0-only
#include "module.hpp"

#include <algorithm>
#include <bit>

#include <sched_spare/cbs.h>
#include <sched_spare/debt.h>

namespace spare::model {

constinit thread_local Module* module;

namespace {

constexpr Time wakes_within = ms;

std::uint32_t util_ppm(const Reservation& r) {
  return r.period_us ? static_cast<std::uint32_t>((std::uint64_t{r.runtime_us} * SPARE_PPM + r.period_us - 1) / r.period_us) : 0;
}

std::uint64_t wanted(const Config& c) { return c.reservation.period_us ? c.cpus : 0; }

}  // namespace

Module::Module(Kernel& k) : kernel_(k), cpu_(k.cpus()) { module = this; }

Server* Module::at(int cpu, unsigned slot) const { return valid(cpu) && slot < SPARE_SLOTS ? cpu_[static_cast<unsigned>(cpu)].slot[slot] : nullptr; }

Vm& Module::make_vm() {
  const auto gone = std::find_if(vms_.begin(), vms_.end(), [&](const auto& v) {
    return v->removed && std::none_of(servers_.begin(), servers_.end(), [&](const auto& s) { return s->vm == v.get(); });
  });
  const int id = gone == vms_.end() ? static_cast<int>(vms_.size()) + 2 : (*gone)->group.css.id;
  Vm& vm = gone == vms_.end() ? *vms_.emplace_back(std::make_unique<Vm>()) : **gone;
  vm = Vm();
  vm.abi.id = 1000 + next_id_;
  std::fill(std::begin(vm.slot), std::end(vm.slot), SPARE_NO_SLOT);
  vm.group.css = {id, next_id_++};
  vm.group.scx = {false, 100, 100'000, ~0ULL, 0};
  policy(vm, 2 * ms, 0, second, 0, SPARE_VM_HASTEN | SPARE_VM_CHARGE);
  vm.abi.interval_ns = second / 2;
  return vm;
}

void Module::policy(Vm& vm, Time grant_ns, unsigned chances, Time window_ns, Time gain_ns, unsigned flags) {
  vm.abi.grant_ns = grant_ns;
  vm.abi.chances = chances;
  vm.abi.window_ns = window_ns;
  vm.abi.gain_ns = gain_ns;
  vm.abi.flags = flags;
}

std::uint32_t Module::others_ppm(const Vm& vm, unsigned cpu) const {
  std::uint32_t sum = 0;
  for (const Server* s : cpu_[cpu].slot)
    if (s && s->vm != &vm && !s->withdrawn) sum += util_ppm(s->vm->config.reservation);
  return sum;
}

// spare_config_set()
bool Module::set(Vm& vm, const Config& config) {
  const std::uint64_t lost = wanted(vm.config) & ~wanted(config);
  if (vm.config.provide)
    for (const auto& user : vms_)
      if (std::count(user->uses.begin(), user->uses.end(), &vm)) {
        if (!config.provide || !config.reservation.period_us) return false;
        for (unsigned i = 0; i < kernel_.cpus(); i++)
          if (lost >> i & 1 && user->slot[i] != SPARE_NO_SLOT) return false;
      }
  unsigned gained = 0;
  for (unsigned i = 0; i < kernel_.cpus(); i++) {
    if (!(wanted(config) >> i & 1)) continue;
    if (others_ppm(vm, i) + util_ppm(config.reservation) > limit_ppm) return false;
    if (vm.slot[i] != SPARE_NO_SLOT) continue;
    gained++;
    if (cpu_[i].used.all()) return false;
  }
  if (gained && queues_wanted_ < live_ + gained)
    queues_wanted_ = std::min(live_ + gained + queues_ahead_, static_cast<unsigned>(SPARE_SLOTS) * kernel_.cpus());
  if (gained && attached_ && queues_made_ < live_ + gained) return false;
  apply(vm, config);
  return true;
}

void Module::apply(Vm& vm, const Config& config) {
  std::vector<Server*> lost, fresh;
  bool moved = false;
  vm.config = config;
  for (unsigned i = 0; i < kernel_.cpus(); i++) {
    Server* s = at(static_cast<int>(i), vm.slot[i]);
    if (wanted(config) >> i & 1) {
      const std::uint64_t cfg = spare_cfg_pack(config.reservation.runtime_us, config.reservation.period_us);
      const unsigned flags = config.provide ? SPARE_F_PROVIDER : 0;
      if (s) {
        if (s->abi.cfg == cfg && s->abi.flags == flags) continue;
        s->abi.flags = flags;
        s->abi.cfg = cfg;
        attend(static_cast<int>(i), s->slot);
        continue;
      }
      unsigned slot = 0;
      while (cpu_[i].used[slot]) slot++;
      cpu_[i].used[slot] = true;
      s = servers_.emplace_back(std::make_unique<Server>()).get();
      s->vm = &vm;
      s->cpu = s->abi.cpu = i;
      s->slot = s->abi.slot = slot;
      s->abi.id = ++last_id_;
      s->abi.vm_id = vm.abi.id;
      s->abi.cfg = cfg;
      s->abi.flags = flags;
      s->abi.lender = s->abi.borrower = SPARE_NO_SLOT;
      std::fill(std::begin(s->abi.use), std::end(s->abi.use), SPARE_NO_SLOT);
      live_++;
      s->had_ns = spare_share_join(&vm.share);
      s->abi.rx_served = vm.abi.rx_seq;
      fresh.push_back(s);
      cpu_[i].slot[slot] = s;
      attend(static_cast<int>(i), slot);
      vm.servers++;
      vm.slot[i] = static_cast<std::uint16_t>(slot);
      vm.abi.cpus[0] |= 1ULL << i;
      moved = true;
    } else if (s) {
      vm.abi.cpus[0] &= ~(1ULL << i);
      vm.slot[i] = SPARE_NO_SLOT;
      vm.servers--;
      lost.push_back(s);
      moved = true;
    }
  }
  for (std::size_t i = 0; i < std::min(lost.size(), fresh.size()); i++) spare_server_inherit(&fresh[i]->abi, &lost[i]->abi);
  for (const auto& v : vms_) resolve(*v);
  for (Server* s : lost) withdraw(*s);
  if (moved)
    for (unsigned i = 0; i < kernel_.cpus(); i++) kernel_.kick(static_cast<int>(i));
}

void Module::resolve(Vm& vm) {
  for (unsigned i = 0; i < kernel_.cpus(); i++) {
    Server* s = at(static_cast<int>(i), vm.slot[i]);
    if (!s) continue;
    std::uint16_t use[SPARE_USE_MAX];
    std::fill(std::begin(use), std::end(use), SPARE_NO_SLOT);
    unsigned n = 0;
    for (const Vm* p : vm.uses)
      if (p->slot[i] != SPARE_NO_SLOT && p->config.provide && n < SPARE_USE_MAX) use[n++] = p->slot[i];
    if (std::equal(std::begin(use), std::end(use), s->abi.use)) continue;
    std::copy(std::begin(use), std::end(use), s->abi.use);
    attend(static_cast<int>(i), s->slot);
  }
}

bool Module::reaches(const Vm& from, const Vm& to) const {
  return std::any_of(from.uses.begin(), from.uses.end(), [&](const Vm* v) { return v == &to || reaches(*v, to); });
}

bool Module::use(Vm& vm, const std::vector<Vm*>& providers) {
  bool covers = providers.empty() || !vm.config.cpus;
  for (const Vm* p : providers) {
    if (p == &vm || !p->config.provide || !p->config.reservation.period_us || reaches(*p, vm)) return false;
    covers |= (p->config.cpus & vm.config.cpus) != 0;
  }
  if (!covers) return false;
  vm.uses = providers;
  resolve(vm);
  return true;
}

// spare_server_withdraw(), tell_class()
void Module::withdraw(Server& s) {
  s.withdrawn = true;
  after_grace([this, &s] {
    s.abi.flags |= SPARE_F_DYING;
    s.told = true;
    attend(static_cast<int>(s.cpu), s.slot);
  });
}

void Module::released(Server& s) {
  if (!s.withdrawn) return;
  s.released = true;
  kernel_.at(kernel_.now() + kernel_.random().in(us, 200 * us), [this] { reap(); });
}

void Module::reap() {
  for (const auto& s : servers_)
    if (s->told && cpu_[s->cpu].slot[s->slot] == s.get() && (s->released || !attached_ || !kernel_.cpu(static_cast<int>(s->cpu)).online)) {
      live_--;
      cpu_[s->cpu].slot[s->slot] = nullptr;
      spare_share_leave(&s->vm->share, s->had_ns, s->abi.debt.owed_ns);
      s->vm->settled_ns += s->abi.st.repaid_ns + s->abi.st.waived_ns;
      after_grace([this, gone = s.get()] {
        cpu_[gone->cpu].used[gone->slot] = false;
        cpu_[gone->cpu].gone_ns += gone->abi.st.used_ns;
        servers_.remove_if([gone](const auto& o) { return o.get() == gone; });
      });
    }
}

void Module::remove(Vm& vm) {
  vm.removed = true;
  for (const auto& user : vms_) std::erase(user->uses, &vm);
  vm.uses.clear();
  apply(vm, {});
}

void Module::attach() {
  attached_ = true;
  queues_made_ = 0;
  for (PerCpu& c : cpu_) {
    c.realtime = nullptr;
    for (unsigned slot = 0; slot < SPARE_SLOTS; slot++) c.attention[slot] = c.slot[slot] != nullptr;
  }
}

void Module::detach() {
  attached_ = false;
  for (const auto& s : servers_) {
    if (cpu_[s->cpu].slot[s->slot] != s.get()) continue;
    spare_server& a = s->abi;
    a.state = SPARE_INACTIVE;
    a.cfg_seen = 0;
    a.mark = {};
    a.far = {};
    a.dsq = 0;
    a.valve_ns = 0;
    a.lender = a.borrower = SPARE_NO_SLOT;
    a.net_queued = a.svc_pending = a.pending = 0;
    a.owed_ns = 0;
    a.debt_ns = a.taken_ns = a.strayed_ns = 0;
    a.rx_served = s->vm->abi.rx_seq;
    s->vm->abi.nr_throttled = 0;
    s->vm->share.known = 0;
  }
  for (unsigned i = 0; i < kernel_.cpus(); i++) {
    kernel_.disarm(static_cast<int>(i));
    cpu_[i].attention.reset();
  }
  if (kernel_.chance(2)) reap();
}

Server* Module::by_queue(std::uint64_t id) const {
  for (const auto& s : servers_)
    if (s->abi.dsq == id && cpu_[s->cpu].slot[s->slot] == s.get()) return s.get();
  return nullptr;
}

int Module::next_cpu(const Vm& vm, unsigned from) const {
  for (std::uint64_t rest = from < cpus_max ? vm.abi.cpus[0] >> from << from : 0; rest; rest &= rest - 1)
    if (const int i = std::countr_zero(rest); kernel_.cpu(i).active) return i;
  return -1;
}

void Module::attend(int cpu, unsigned slot) {
  cpu_[static_cast<unsigned>(cpu)].attention[slot] = true;
  kernel_.kick(cpu);
}

unsigned Module::attention(int cpu) {
  auto& bits = cpu_[static_cast<unsigned>(cpu)].attention;
  const std::size_t slot = bits._Find_first();
  if (slot >= SPARE_SLOTS) return SPARE_NO_SLOT;
  bits[slot] = false;
  return static_cast<unsigned>(slot);
}

std::vector<const spare_stats*> Module::all_stats() const {
  std::vector<const spare_stats*> all;
  for (const auto& s : servers_) all.push_back(&s->abi.st);
  return all;
}

// hook.c: packets(), mark()
void Module::packet(Vm& vm, unsigned count) {
  PerCpu& c = cpu_[static_cast<unsigned>(kernel_.here_cpu())];
  kernel_.trace("packet", nullptr, vm.abi.id);
  c.arrival = &vm;
  c.arrival_in = &kernel_.current();
  c.arrival_ns = vm.abi.rx_ns = kernel_.now();
  vm.abi.rx_seq += count;
  if (!vm.abi.nr_throttled) return;
  for (unsigned i = 0; i < kernel_.cpus(); i++) {
    const Server* s = vm.abi.cpus[0] >> i & 1 ? at(static_cast<int>(i), vm.slot[i]) : nullptr;
    if (s && s->abi.state == SPARE_THROTTLED && s->abi.use[0] != SPARE_NO_SLOT) attend(static_cast<int>(i), s->slot);
  }
}

bool Module::wakes(const Task& p) {
  PerCpu& c = cpu_[static_cast<unsigned>(kernel_.here_cpu())];
  if (!c.arrival || c.arrival_in != &kernel_.current() || c.arrival != effective(p) || kernel_.now() - c.arrival_ns >= wakes_within) return false;
  c.arrival = nullptr;
  return true;
}

// realtime.c
void Module::charge(Task& p, int cpu, Time ns) {
  Vm* vm = effective(p);
  Server* s = vm ? at(cpu, vm->slot[cpu]) : nullptr;
  for (unsigned i = 0; vm && !s && i < kernel_.cpus(); i++)
    if (vm->abi.cpus[0] >> i & 1 && serves(static_cast<int>(i))) s = at(static_cast<int>(i), vm->slot[i]);
  if (!s) return;
  vm->abi.rt_ns += ns;
  s->abi.debt_ns += ns;
}

u64 Module::used(int cpu) const {
  u64 sum = cpu_[static_cast<unsigned>(cpu)].gone_ns;
  for (const auto& s : servers_)
    if (static_cast<int>(s->cpu) == cpu) sum += s->abi.st.used_ns;
  return sum;
}

void Module::realtime(PerCpu& c, Task* p) {
  if (!p && c.realtime_since) {
    c.above += kernel_.now() - c.realtime_since;
    c.realtime_since = 0;
  }
  c.realtime = p;
  if (!p) return;
  c.realtime_used = p->se.sum_exec_runtime - c.softirq;
  if (!c.realtime_since) c.realtime_since = kernel_.now();
}

void Module::switched(Cpu& cpu, Task& prev, Task& next) {
  PerCpu& c = cpu_[static_cast<unsigned>(cpu.id)];
  if (prev.policy == Policy::realtime && c.realtime == &prev) charge(prev, cpu.id, prev.se.sum_exec_runtime - c.softirq - c.realtime_used);
  realtime(c, next.policy == Policy::realtime ? &next : nullptr);
}

void Module::changes(Task& p, bool goes) {
  PerCpu& c = cpu_[p.thread_info.cpu];
  if (!kernel_.running(p)) return;
  if (goes) {
    realtime(c, &p);
  } else if (c.realtime == &p) {
    charge(p, static_cast<int>(p.thread_info.cpu), p.se.sum_exec_runtime - c.softirq - c.realtime_used);
    realtime(c, nullptr);
  }
}

void Module::softirq(Cpu& cpu, Time length) {
  PerCpu& c = cpu_[static_cast<unsigned>(cpu.id)];
  (c.realtime_since ? c.softirq : c.above) += length;
}

Time Module::above(int cpu, Time now) const {
  const PerCpu& c = cpu_[static_cast<unsigned>(cpu)];
  return c.realtime_since ? c.above + (now - c.realtime_since) : c.above;
}

namespace {

Task& task(task_struct* p) { return *static_cast<Task*>(p); }

}  // namespace

// kfuncs.c
extern "C" {

int* spare_task_vm(task_struct* p, const int) {
  Vm* vm = Module::effective(task(p));
  return vm ? reinterpret_cast<int*>(&vm->abi) : nullptr;
}

u32 spare_task_slot(task_struct* p, s32 cpu) {
  const Vm* vm = Module::effective(task(p));
  return vm && module->serves(cpu) ? vm->slot[cpu] : static_cast<u32>(SPARE_NO_SLOT);
}

bool spare_task_receives(task_struct* p) { return module->wakes(task(p)); }
void spare_task_changes(task_struct* p, bool goes) { module->changes(task(p), goes); }
u64 spare_above_ns(s32 cpu, u64 now) { return module->valid(cpu) ? module->above(cpu, now) : 0; }

u32 spare_vm_slot(s32 cpu, u32 slot, s32 other) {
  const Server* s = module->at(cpu, slot);
  return s && module->serves(other) ? s->vm->slot[other] : static_cast<u32>(SPARE_NO_SLOT);
}

s32 spare_task_next_cpu(task_struct* p, u32 from) {
  const Vm* vm = Module::effective(task(p));
  return vm ? module->next_cpu(*vm, from) : -1;
}

s32 spare_vm_next_cpu(s32 cpu, u32 slot, u32 from) {
  const Server* s = module->at(cpu, slot);
  return s ? module->next_cpu(*s->vm, from) : -1;
}

void spare_cpu_deadline(s32 cpu, u32 ppm) {
  if (!module->valid(cpu) || ppm > SPARE_PPM) kernel->fail("deadline threads hold %u ppm of CPU %d", ppm, cpu);
}

int* spare_server_get(s32 cpu, u32 slot, const int) {
  Server* s = module->at(cpu, slot);
  if (s && module->watch && !s->seen) {
    s->seen = true;
    module->watch->seen.push_back(s);
  }
  return s ? reinterpret_cast<int*>(&s->abi) : nullptr;
}

int* spare_server_vm(s32 cpu, u32 slot, const int) {
  const Server* s = module->at(cpu, slot);
  return s ? reinterpret_cast<int*>(&s->vm->abi) : nullptr;
}

// debt.c
u64 spare_server_cost(s32 cpu, u32 slot, const u64* total) {
  Server* s = module->at(cpu, slot);
  return s ? spare_share_part(&s->vm->share, total, &s->had_ns) : 0;
}

// The meter has an entry for each VM that has cost something.
u64* shim_cost(u64 id) {
  for (const auto& vm : module->vms())
    if (vm->abi.id == id) return vm->cost_ns ? &vm->cost_ns : nullptr;
  return nullptr;
}

void spare_timer_arm(s32 cpu, u64 when, u64) { kernel->arm(cpu, when); }

void spare_kick(s32 cpu) {
  if (module->valid(cpu)) kernel->kick(cpu);
}

void spare_attend(s32 cpu, u32 slot) {
  if (module->valid(cpu) && slot < SPARE_SLOTS) module->attend(cpu, slot);
}

u32 spare_attention(s32 cpu) {
  kernel->answered(cpu);
  return module->attention(cpu);
}
void spare_notify(s32, u32) {}

void spare_trace(s32 cpu, u32 slot, u32 what, u32 provider) {
  static const char* const words[] = {"throttle", "replenish", "grant", "deny"};
  kernel->trace(words[what], nullptr, static_cast<u64>(cpu) << 16 | slot, provider);
  if (what == SPARE_TRACE_GRANT && module->watch) module->watch->granted(*module->at(cpu, slot), *module->at(cpu, provider));
}

void spare_server_release(s32 cpu, u32 slot) {
  if (Server* s = module->at(cpu, slot)) module->released(*s);
}

u32 spare_queues_wanted(void) { return module->queues_wanted_; }
void spare_queues_made(u32 made) { module->queues_made_ = std::max(module->queues_made_, made); }

int spare_class_attach(u32 abi) {
  if (abi != SPARE_ABI) return -71;
  module->attach();
  return 0;
}

void spare_class_detach(void) { module->detach(); }

}  // extern "C"

}  // namespace spare::model
