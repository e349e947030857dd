// SPDX-License-Identifier: GPL-2.0-only
#include "top/columns.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "duration.hpp"

namespace sparectl::top {
namespace {

using C = Counter;

constexpr double ns_per_ms = 1e6, ns_per_us = 1e3;

template <Counter counter>
Value percent(const Row& row) { return of(row.vm.percent(counter)); }
template <Counter counter>
Value rate(const Row& row) { return of(row.vm.per_second(counter)); }

// What all of them have grown by, of those that are known.
std::optional<double> sum(const VmPair& pair, std::initializer_list<Counter> of_these) {
  std::optional<double> all;
  for (const auto counter : of_these) {
    if (const auto one = pair.had(counter)) {
      all = all.value_or(0) + *one;
    }
  }
  return all;
}

std::optional<double> share(std::optional<double> ns, double seconds) {
  return ns && seconds > 0 ? std::optional(*ns / seconds / 1e7) : std::nullopt;
}
std::optional<double> divided(std::optional<double> a, std::optional<double> b) { return a && b && *b > 0 ? std::optional(*a / *b) : std::nullopt; }
std::optional<double> times(std::optional<double> a, double b) { return a ? std::optional(*a * b) : std::nullopt; }

// XenMon's gotten.
std::optional<double> got(const VmPair& vm) { return sum(vm, {C::used_ns, C::boost_ns}); }
// As the module's hook counts them; else as the meter does.
std::optional<double> packets(const VmPair& vm) {
  const auto hook = sum(vm, {C::rx_packets, C::tx_packets});
  return hook ? hook : sum(vm, {C::bill_rx, C::bill_tx});
}
template <Counter hook, Counter meter>
Value packet_rate(const Row& row) {
  const auto counted = row.vm.per_second(hook);
  return of(counted ? counted : row.vm.per_second(meter));
}

std::optional<double> allocated(const VmPair& vm) {
  if (vm.now->period_us == 0) {
    return std::nullopt;
  }
  const double servers = vm.now->capped ? 1 : vm.value(C::nr_servers).value_or(1);
  return 100 * servers * static_cast<double>(vm.now->runtime_us) / static_cast<double>(vm.now->period_us);
}

// Neither ran nor waited, of as many CPUs as it has servers.
std::optional<double> blocked_share(const VmPair& vm) {
  const auto ran = share(got(vm), vm.seconds), waited = vm.percent(C::wait_ns);
  const double all = 100 * std::max(1.0, vm.value(C::nr_servers).value_or(1));
  return ran && waited ? std::optional(std::max(0.0, all - *ran - *waited)) : std::nullopt;
}

std::string state_of(const VmSample& vm) {
  const auto count = [&](ServerState state) { return std::count_if(vm.servers.begin(), vm.servers.end(), [&](const ServerSample& s) { return s.state == state; }); };
  if (vm.period_us == 0) {
    return "none";
  }
  if (vm.capped) {
    return "cap";
  }
  if (vm.values.get(C::placed) == 0U) {
    return "unplaced";
  }
  return count(ServerState::running) != 0 ? "run" : count(ServerState::throttled) != 0 ? "thr" : count(ServerState::ready) != 0 ? "ready" : "idle";
}

std::string reservation(std::uint64_t runtime_us, std::uint64_t period_us) {
  return period_us == 0 ? "-" : spare::format_reservation(spare::Reservation{runtime_us, period_us});
}

// The buckets as heights 0 to 9, one digit each: what draws it makes blocks of them.
Value buckets(const Row& row) {
  std::array<double, lat_buckets> in{};
  double most = 0;
  for (std::size_t i = 0; i < lat_buckets; i++) {
    in[i] = row.vm_long.had(lat(i)).value_or(0);
    most = std::max(most, in[i]);
  }
  std::string text;
  for (const double n : in) {
    text += static_cast<char>('0' + (n == 0 ? 0 : std::max(1, static_cast<int>(std::lround(9 * n / most)))));
  }
  return most == 0 ? Value() : Value(text);
}

template <CpuCounter... counters>
Value cpu_share(const Row& row) {
  std::optional<double> all;
  for (const auto counter : {counters...}) {
    if (const auto one = row.cpu.had(counter)) {
      all = all.value_or(0) + *one;
    }
  }
  // Of the meter's own time, where it has one.
  const auto elapsed = row.cpu.had(CpuCounter::bill_elapsed);
  return of(times(divided(all, elapsed && *elapsed > 0 ? elapsed : std::optional(row.cpu.seconds * 1e9)), 100));
}

// Share of the CPU's time by /proc/stat, whose sum is not just the time that passed.
template <CpuCounter... counters>
std::optional<double> stat_share(const CpuPair& cpu) {
  double all = 0, some = 0;
  for (const auto counter : {CpuCounter::stat_busy, CpuCounter::stat_idle, CpuCounter::stat_irq, CpuCounter::stat_softirq, CpuCounter::stat_steal, CpuCounter::stat_guest}) {
    all += cpu.had(counter).value_or(0);
  }
  for (const auto counter : {counters...}) {
    some += cpu.had(counter).value_or(0);
  }
  return all > 0 ? std::optional(100 * some / all) : std::nullopt;
}

template <bool provider>
Value reserved_on(const Row& row) {
  double all = 0;
  for (const VmSample& vm : row.interval->now().vms) {
    if (vm.provider == provider && vm.period_us != 0 && !vm.capped &&
        std::any_of(vm.servers.begin(), vm.servers.end(), [&](const ServerSample& s) { return s.cpu == row.cpu.now->cpu; })) {
      all += 100 * static_cast<double>(vm.runtime_us) / static_cast<double>(vm.period_us);
    }
  }
  return all;
}

Value used_on(const Row& row) {
  std::optional<double> all;
  for (const VmPair& vm : row.interval->vms()) {
    if (const auto used = vm.server_used(row.cpu.now->cpu)) {
      all = all.value_or(0) + *used;
    }
  }
  return of(share(all, row.cpu.seconds));
}

template <CpuCounter... counters>
Value metered_or(const Row& row, std::optional<double> otherwise) {
  const Value metered = cpu_share<counters...>(row);
  return std::holds_alternative<double>(metered) ? metered : of(otherwise);
}

// Without the meter: as the class counts, else what /proc/stat says of guests.
std::optional<double> vms_unmetered(const Row& row) {
  const Value used = used_on(row);
  return std::holds_alternative<double>(used) ? std::optional(std::get<double>(used)) : stat_share<CpuCounter::stat_guest>(row.cpu);
}
std::optional<double> host_unmetered(const Row& row) {
  const auto busy = stat_share<CpuCounter::stat_busy, CpuCounter::stat_irq, CpuCounter::stat_guest>(row.cpu);
  return busy ? std::optional(std::max(0.0, *busy - vms_unmetered(row).value_or(0))) : std::nullopt;
}

Value error_of(const Row& row) {
  const auto elapsed = row.cpu.had(CpuCounter::bill_elapsed);
  double all = 0;
  for (const auto counter : {CpuCounter::bill_vms, CpuCounter::bill_task, CpuCounter::bill_network, CpuCounter::bill_idle, CpuCounter::bill_deadline, CpuCounter::bill_realtime, CpuCounter::bill_softirq, CpuCounter::bill_irq}) {
    all += row.cpu.had(counter).value_or(0);
  }
  return elapsed && *elapsed > 0 ? Value(1e6 * (all - *elapsed) / *elapsed) : Value();
}

using R = const Row&;
constexpr auto V = Subject::vm, P = Subject::pool, U = Subject::cpu;

const Column column_table[] = {
    {V, "name", "NAME", 0, Unit::text, "the guest's name where it is known, else the last part of its cgroup's", [](R r) { return Value(r.vm.now->name); }},
    {V, "cgroup", "CGROUP", 0, Unit::text, "path of its cgroup", [](R r) { return Value(r.vm.now->path); }},
    {V, "state", "STATE", 5, Unit::text, "of its servers at this moment: run, thr (throttled), ready, idle; unplaced: on no CPU; cap: no reservation, only cpu.max; none: neither", [](R r) { return Value(state_of(*r.vm.now)); }},
    {V, "cpus", "CPUS", 5, Unit::text, "CPUs on which it has a server", [](R r) { return r.vm.now->cpus.empty() ? Value() : Value(r.vm.now->cpus); }},
    {V, "reservation", "Q/P", 10, Unit::text, "runtime and period of its reservation, on each of its CPUs", [](R r) { return Value(reservation(r.vm.now->runtime_us, r.vm.now->period_us)); }},
    {V, "alloc_pct", "ALLOC%", 6, Unit::percent, "what its reservation is, on all its CPUs together (XenMon: allocated)", [](R r) { return of(allocated(r.vm)); }},
    {V, "used_pct", "USED%", 6, Unit::percent, "CPU that it has had, its own and borrowed (XenMon: gotten)", [](R r) { return of(share(got(r.vm), r.vm.seconds)); }},
    {V, "used_10s_pct", "USED10", 6, Unit::percent, "the same over 10 s", [](R r) { return of(share(got(r.vm_long), r.vm_long.seconds)); }},
    {V, "rdy_pct", "RDY%", 6, Unit::percent, "its threads were ready to run and did not, each thread by itself, throttled or not (XenMon: waited)", percent<C::wait_ns>, 50, 150},
    {V, "rdy_10s_pct", "RDY10", 6, Unit::percent, "the same over 10 s", [](R r) { return of(r.vm_long.percent(C::wait_ns)); }},
    {V, "thr_pct", "THR%", 6, Unit::percent, "its servers were throttled: their budget was used up", percent<C::throttled_ns>, 50, 90},
    {V, "boost_pct", "BOOST%", 6, Unit::percent, "CPU that it has borrowed", percent<C::boost_ns>},
    {V, "stolen_pct", "STOLN%", 6, Unit::percent, "it was ready while real-time or deadline threads had its CPU", percent<C::stolen_ns>, 5, 20},
    {V, "stray_pct", "STRAY%", 6, Unit::percent, "ran on CPUs where it has no server", percent<C::stray_ns>, 5, 20},
    {V, "rt_pct", "RT%", 5, Unit::percent, "CPU of its real-time and deadline threads, which no budget holds back", percent<C::rt_ns>, 1, 10},
    {V, "valve_pct", "VALVE%", 6, Unit::percent, "ran beyond its budget, having more threads than that can serve in time", percent<C::valve_ns>, 1, 10},
    {V, "debt_ms", "DEBT", 7, Unit::ms, "CPU that its next budgets owe, ms", [](R r) { return of(times(r.vm.value(C::debt_ns), 1 / ns_per_ms)); }},
    {V, "miss_ps", "MISS/s", 6, Unit::per_second, "deadlines that passed with budget left and work waiting", rate<C::misses>, 0.01, 1},
    {V, "overrun_ps", "OVER/s", 6, Unit::per_second, "budgets overdrawn by more than 100 us", rate<C::overruns>, 0.01, 10},
    {V, "p50_us", "P50", 7, Unit::us, "half of the packets that found it throttled had their first service within this, over 10 s (upper limit of a bucket)", [](R r) { return of(r.vm_long.latency_us(0.5)); }, 20000, 50000},
    {V, "p90_us", "P90", 7, Unit::us, "the same of 90 %", [](R r) { return of(r.vm_long.latency_us(0.9)); }, 20000, 50000},
    {V, "p99_us", "P99", 7, Unit::us, "the same of 99 %", [](R r) { return of(r.vm_long.latency_us(0.99)); }, 20000, 50000},
    {V, "lat_mean_us", "MEAN", 7, Unit::us, "their mean, over 10 s", [](R r) {
       std::optional<double> n;
       for (std::size_t i = 0; i < lat_buckets; i++) {
         n = n.value_or(0) + r.vm_long.had(lat(i)).value_or(0);
       }
       return of(times(divided(r.vm_long.had(C::lat_sum_ns), n), 1 / ns_per_us));
     }},
    {V, "lat_max_us", "MAX", 7, Unit::us, "the longest since its cgroup is there", [](R r) { return of(times(r.vm.value(C::lat_max_ns), 1 / ns_per_us)); }},
    {V, "buckets", "64us..1s", 16, Unit::text, "how many were how long, over 10 s: below 64 us, 128 us, ... 1 s, and longer; a digit for each, 9 the most", buckets},
    {V, "rx_pps", "RXp/s", 7, Unit::per_second, "packets to it", packet_rate<C::rx_packets, C::bill_rx>},
    {V, "tx_pps", "TXp/s", 7, Unit::per_second, "packets from it", packet_rate<C::tx_packets, C::bill_tx>},
    {V, "rx_drop_ps", "DROPrx", 6, Unit::per_second, "packets to it that its taps dropped", rate<C::rx_dropped>, 0.01, 100},
    {V, "tx_drop_ps", "DROPtx", 6, Unit::per_second, "packets from it that were dropped", rate<C::tx_dropped>, 0.01, 100},
    {V, "limited_pct", "LIM%", 5, Unit::percent, "CPU of network work that was charged to its limit (spare.net.max)", [](R r) { return of(share(r.vm.had(C::net_ns), r.vm.seconds)); }},
    {V, "limit_drop_ps", "DROPlim", 7, Unit::per_second, "packets to it and from it that were dropped for that limit", [](R r) { return of(divided(sum(r.vm, {C::net_rx_dropped, C::net_tx_dropped}), r.vm.seconds)); }, 0.01, 100},
    {V, "net_pct", "NET%", 6, Unit::percent, "CPU of its network: vhost and softirq (the meter)", [](R r) { return of(share(sum(r.vm, {C::bill_vhost, C::bill_softirq_rx, C::bill_softirq_tx}), r.vm.seconds)); }, 0, 0, true},
    {V, "packet_us", "CPU/PKT", 7, Unit::us, "the same for a packet", [](R r) { return of(times(divided(sum(r.vm, {C::bill_vhost, C::bill_softirq_rx, C::bill_softirq_tx}), packets(r.vm)), 1 / ns_per_us)); }, 0, 0, true},
    {V, "netdev", "NETDEV", 10, Unit::text, "its taps", [](R r) { return r.vm.now->netdev.empty() ? Value() : Value(r.vm.now->netdev); }},
    {V, "grant_ps", "GRANT/s", 7, Unit::per_second, "packets that were served by a spare", rate<C::granted>},
    {V, "block_ps", "BLOCK/s", 7, Unit::per_second, "packets that found all spares taken, and wait for one", rate<C::blocked>, 1, 10},
    {V, "deny_ps", "DENY/s", 7, Unit::per_second, "packets that no spare served before its own budget was back", rate<C::denied>, 0.01, 1},
    {V, "short_ps", "SHORT/s", 7, Unit::per_second, "times that what it borrowed ended while a vCPU would have run on", [](R r) { return of(divided(sum(r.vm, {C::short_grant, C::short_gain, C::short_q}), r.vm.seconds)); }},
    {V, "expired_ps", "EXPIRE", 6, Unit::per_second, "packets after which no network thread woke", rate<C::expired>},
    {V, "hasten_ps", "HASTEN", 6, Unit::per_second, "parts of its budget that ran under a nearer deadline", rate<C::hastened>},
    {V, "use", "USE", 16, Unit::text, "whom it may borrow from", [](R r) { return r.vm.now->use.empty() ? Value() : Value(r.vm.now->use); }},
    {V, "bill_pct", "BILL%", 6, Unit::percent, "all that the host has spent for it (the meter; the next columns are its parts)", [](R r) { return of(share(r.vm.billed(), r.vm.seconds)); }, 0, 0, true},
    {V, "guest_pct", "GUEST", 6, Unit::percent, "vCPUs, in the guest", percent<C::bill_guest>, 0, 0, true},
    {V, "vcpu_pct", "VCPU", 6, Unit::percent, "vCPUs, on the host", percent<C::bill_vcpu>, 0, 0, true},
    {V, "vhost_pct", "VHOST", 6, Unit::percent, "vhost workers", percent<C::bill_vhost>, 0, 0, true},
    {V, "iothread_pct", "IOTH", 6, Unit::percent, "iothreads", percent<C::bill_iothread>, 0, 0, true},
    {V, "emulator_pct", "EMUL", 6, Unit::percent, "the emulator's other threads, and whatever else runs in its cgroup", percent<C::bill_emulator>, 0, 0, true},
    {V, "kthread_pct", "KTHR", 6, Unit::percent, "kernel threads that work for it alone", percent<C::bill_kthread>, 0, 0, true},
    {V, "softirq_rx_pct", "SIRQrx", 6, Unit::percent, "softirqs, for packets to it", percent<C::bill_softirq_rx>, 0, 0, true},
    {V, "softirq_tx_pct", "SIRQtx", 6, Unit::percent, "softirqs, for packets from it", percent<C::bill_softirq_tx>, 0, 0, true},
    {V, "irq_pct", "IRQ", 6, Unit::percent, "hard interrupts that are its alone", percent<C::bill_irq>, 0, 0, true},
    {V, "blocked_pct", "BLCKD%", 6, Unit::percent, "it neither ran nor waited, of as many CPUs as it has servers (XenMon: blocked)", [](R r) { return of(blocked_share(r.vm)); }},
    {V, "blocked_10s_pct", "BLCK10", 6, Unit::percent, "the same over 10 s", [](R r) { return of(blocked_share(r.vm_long)); }},
    {V, "exec_ps", "EXEC/s", 7, Unit::per_second, "times that a thread of it came to run (XenMon: executions)", rate<C::runs>},
    {V, "exec_10s_ps", "EXEC10", 7, Unit::per_second, "the same over 10 s", [](R r) { return of(r.vm_long.per_second(C::runs)); }},
    {V, "io_ps", "IO/s", 7, Unit::per_second, "packets to it and from it (XenMon: I/O count)", [](R r) { return of(divided(packets(r.vm), r.vm.seconds)); }},
    {V, "io_10s_ps", "IO10", 7, Unit::per_second, "the same over 10 s", [](R r) { return of(divided(packets(r.vm_long), r.vm_long.seconds)); }},
    {V, "used_period_ms", "USED/P", 6, Unit::ms, "CPU that it has had for each of its servers' periods, ms", [](R r) { return of(times(divided(got(r.vm), r.vm.had(C::periods)), 1 / ns_per_ms)); }},
    {V, "rdy_period_ms", "RDY/P", 6, Unit::ms, "ready and not running, for each period, ms", [](R r) { return of(times(divided(r.vm.had(C::wait_ns), r.vm.had(C::periods)), 1 / ns_per_ms)); }},
    {V, "exec_period", "EXEC/P", 6, Unit::per_second, "executions for each period", [](R r) { return of(divided(r.vm.had(C::runs), r.vm.had(C::periods))); }},
    {V, "io_period", "IO/P", 6, Unit::per_second, "packets for each period", [](R r) { return of(divided(packets(r.vm), r.vm.had(C::periods))); }},
    {V, "exec_us", "us/EXEC", 7, Unit::us, "CPU for each execution", [](R r) { return of(times(divided(r.vm.had(C::run_ns), r.vm.had(C::runs)), 1 / ns_per_us)); }},
    {V, "wait_exec_us", "WAIT/EX", 7, Unit::us, "time ready before each execution", [](R r) { return of(times(divided(r.vm.had(C::wait_ns), r.vm.had(C::runs)), 1 / ns_per_us)); }},

    {P, "pool", "POOL", 0, Unit::text, "cgroup of its providers", [](R r) { return Value(r.pool.path); }},
    {P, "each", "EACH", 10, Unit::text, "runtime and period of each spare", [](R r) { return Value(r.pool.period_us == 0 ? "various" : reservation(r.pool.runtime_us, r.pool.period_us)); }},
    {P, "spares", "SPARES", 6, Unit::count, "providers", [](R r) { return Value(double(r.pool.providers)); }},
    {P, "servers", "SERVRS", 6, Unit::count, "their servers, on all CPUs together", [](R r) { return Value(double(r.pool.servers)); }},
    {P, "free", "FREE", 5, Unit::count, "of these, not lent at this moment", [](R r) { return Value(double(r.pool.free)); }},
    {P, "members", "MEMBRS", 6, Unit::count, "cgroups that may borrow", [](R r) { return Value(double(r.pool.members)); }},
    {P, "lent_pct", "LENT%", 6, Unit::percent, "of its bandwidth, lent", [](R r) { return of(times(r.pool.lent_share(), 100)); }, 50, 80},
    {P, "grant_ps", "GRANT/s", 7, Unit::per_second, "loans", [](R r) { return of(divided(r.pool.granted, r.pool.seconds)); }},
    {P, "block_ps", "BLOCK/s", 7, Unit::per_second, "packets that found all spares taken", [](R r) { return of(divided(r.pool.blocked, r.pool.seconds)); }, 1, 10},
    {P, "deny_ps", "DENY/s", 7, Unit::per_second, "packets of members that no spare served", [](R r) { return of(divided(r.pool.denied, r.pool.seconds)); }, 0.01, 1},
    {P, "blocked_pct", "SEEN%", 6, Unit::percent, "share of claims that found all spares taken", [](R r) { return of(times(r.pool.seen_blocking(), 100)); }, 1, 10},
    {P, "erlang_pct", "ERLNG%", 6, Unit::percent, "the same as Erlang's formula expects it from what was lent", [](R r) { return of(times(r.pool.expected_blocking(), 100)); }},

    {U, "cpu", "CPU", 4, Unit::count, "its number", [](R r) { return Value(double(r.cpu.now->cpu)); }},
    {U, "reserved_pct", "RSVD%", 6, Unit::percent, "reserved by VMs", reserved_on<false>},
    {U, "spares_pct", "SPARE%", 6, Unit::percent, "reserved by providers", reserved_on<true>},
    {U, "deadline_pct", "DEADL%", 6, Unit::percent, "held by SCHED_DEADLINE threads, as admission counts it", [](R r) {
       const auto ppm = r.cpu.now->values.get(CpuCounter::deadline_ppm);
       return ppm ? Value(static_cast<double>(*ppm) / 1e4) : Value();
     }},
    {U, "used_pct", "USED%", 6, Unit::percent, "used by VMs and providers, by the class's account", used_on},
    {U, "vms_pct", "VMS%", 6, Unit::percent, "spent for VMs (the meter); without it: USED%, or what was spent in guests", [](R r) { return metered_or<CpuCounter::bill_vms>(r, vms_unmetered(r)); }},
    {U, "host_pct", "HOST%", 6, Unit::percent, "the host's tasks, softirqs and interrupts; without the meter what is left of the time that was neither idle nor softirq", [](R r) { return metered_or<CpuCounter::bill_task, CpuCounter::bill_softirq, CpuCounter::bill_irq>(r, host_unmetered(r)); }},
    {U, "net_pct", "NET%", 6, Unit::percent, "the host's network; without the meter all softirqs", [](R r) { return metered_or<CpuCounter::bill_network>(r, stat_share<CpuCounter::stat_softirq>(r.cpu)); }},
    {U, "rt_pct", "RT%", 6, Unit::percent, "real-time and deadline threads of the host (the meter)", cpu_share<CpuCounter::bill_deadline, CpuCounter::bill_realtime>, 0, 0, true},
    {U, "idle_pct", "IDLE%", 6, Unit::percent, "idle", [](R r) { return metered_or<CpuCounter::bill_idle>(r, stat_share<CpuCounter::stat_idle>(r.cpu)); }},
    {U, "steal_pct", "STEAL%", 6, Unit::percent, "taken by the machine that this host runs on", [](R r) { return of(stat_share<CpuCounter::stat_steal>(r.cpu)); }, 1, 10},
    {U, "error_ppm", "ERRppm", 6, Unit::ppm, "of the time, billed twice or, below 0, to nobody (the meter)", error_of, 0, 0, true},
};

}  // namespace

std::string Row::key(Subject subject) const {
  switch (subject) {
    case Subject::vm:
      return vm.now->path;
    case Subject::pool:
      return pool.path;
    case Subject::cpu:
      return std::to_string(cpu.now->cpu);
  }
  return {};
}

std::span<const Column> all_columns() { return column_table; }

const Column* find_column(std::string_view id, Subject subject) {
  const auto found = std::find_if(std::begin(column_table), std::end(column_table), [&](const Column& c) { return c.subject == subject && id == c.id; });
  return found == std::end(column_table) ? nullptr : found;
}

const std::vector<View>& all_views() {
  static const std::vector<View> views = {
      {"vm", '1', "VMs", V, {"name", "state", "cpus", "reservation", "alloc_pct", "used_pct", "rdy_pct", "thr_pct", "boost_pct", "p99_us", "debt_ms", "stolen_pct", "stray_pct", "rx_pps", "tx_pps", "deny_ps", "bill_pct"}, "used_pct"},
      {"net", '2', "network", V, {"name", "rx_pps", "tx_pps", "rx_drop_ps", "tx_drop_ps", "limit_drop_ps", "net_pct", "packet_us", "vhost_pct", "softirq_rx_pct", "softirq_tx_pct", "netdev"}, "rx_pps"},
      {"spare", '3', "spare bandwidth", V, {"name", "grant_ps", "block_ps", "deny_ps", "short_ps", "hasten_ps", "expired_ps", "boost_pct", "thr_pct", "use"}, "grant_ps"},
      {"latency", '4', "first service of packets that found it throttled", V, {"name", "buckets", "p50_us", "p90_us", "p99_us", "lat_mean_us", "lat_max_us", "deny_ps"}, "p99_us"},
      {"time", '5', "where its time goes", V, {"name", "alloc_pct", "used_pct", "rdy_pct", "blocked_pct", "exec_ps", "io_ps", "used_10s_pct", "rdy_10s_pct", "blocked_10s_pct", "exec_10s_ps", "io_10s_ps", "used_period_ms", "rdy_period_ms", "exec_period", "io_period", "exec_us", "wait_exec_us"}, "rdy_pct"},
      {"bill", '6', "the bill", V, {"name", "bill_pct", "guest_pct", "vcpu_pct", "vhost_pct", "emulator_pct", "softirq_rx_pct", "softirq_tx_pct", "iothread_pct", "kthread_pct", "irq_pct", "used_pct"}, "bill_pct"},
      {"pool", '7', "pools", P, {"pool", "each", "spares", "servers", "free", "members", "lent_pct", "grant_ps", "block_ps", "deny_ps", "blocked_pct", "erlang_pct"}, "lent_pct"},
      {"cpu", '8', "CPUs", U, {"cpu", "reserved_pct", "spares_pct", "deadline_pct", "used_pct", "vms_pct", "host_pct", "net_pct", "idle_pct", "rt_pct", "steal_pct", "error_ppm"}, "cpu"},
      {"debt", '9', "debt, and what keeps VMs from running", V, {"name", "debt_ms", "thr_pct", "stolen_pct", "stray_pct", "rt_pct", "valve_pct", "miss_ps", "overrun_ps"}, "debt_ms"},
  };
  return views;
}

const View* find_view(std::string_view id) {
  const auto& views = all_views();
  const auto found = std::find_if(views.begin(), views.end(), [&](const View& view) { return id == view.id; });
  return found == views.end() ? nullptr : &*found;
}

std::vector<Row> rows_of(const View& view, const Interval& last, const Interval& longer) {
  std::vector<Row> rows;
  switch (view.subject) {
    case Subject::vm:
      for (std::size_t i = 0; i < last.vms().size(); i++) {
        if (!last.vms()[i].now->provider || view.providers) {
          rows.push_back({last.vms()[i], longer.vms()[i], {}, {}, &last});
        }
      }
      break;
    case Subject::pool:
      for (PoolPair& one : pools_in(last)) {
        rows.push_back({{}, {}, std::move(one), {}, &last});
      }
      break;
    case Subject::cpu:
      for (const CpuPair& one : last.cpus()) {
        rows.push_back({{}, {}, {}, one, &last});
      }
      break;
  }
  return rows;
}

void sort_rows(std::vector<Row>& rows, const Column& column, bool ascending) {
  std::vector<std::pair<Value, std::size_t>> keys;
  for (const Row& row : rows) {
    keys.emplace_back(column.value(row), keys.size());
  }
  const auto known = [](const Value& value) { return !std::holds_alternative<std::monostate>(value); };
  std::stable_sort(keys.begin(), keys.end(), [&](const auto& a, const auto& b) {
    if (!known(a.first) || !known(b.first)) {
      return known(a.first) && !known(b.first);
    }
    return ascending ? a.first < b.first : b.first < a.first;
  });
  std::vector<Row> sorted;
  sorted.reserve(rows.size());
  for (const auto& [value, at] : keys) {
    sorted.push_back(std::move(rows[at]));
  }
  rows = std::move(sorted);
}

void filter_rows(std::vector<Row>& rows, Subject subject, std::string_view text) {
  const auto lower = [](std::string_view from) {
    std::string to(from);
    std::transform(to.begin(), to.end(), to.begin(), [](unsigned char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 'a' - 'A') : static_cast<char>(c); });
    return to;
  };
  const std::string wanted = lower(text);
  std::erase_if(rows, [&](const Row& row) {
    return lower(row.key(subject)).find(wanted) == std::string::npos && (subject != Subject::vm || lower(row.vm.now->name).find(wanted) == std::string::npos);
  });
}

}  // namespace sparectl::top
