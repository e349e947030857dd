// SPDX-License-Identifier: GPL-2.0-only
//
// The keys of spare.stat (kmod/README.md), and the metrics that they are.
#pragma once

#include <prometheus/metric_type.h>

namespace spare {

struct Field {
  const char* key;
  const char* name;  // behind the prefix; those of one name stand together
  prometheus::MetricType type;
  double unit;  // of the key's number, in that of the metric
  const char *label, *value;  // beside the VM's; null: none
  const char* help;           // with the first of a name
};

inline constexpr double nanosecond = 1e-9, microsecond = 1e-6, ppm = 1e-6;
inline constexpr auto counter = prometheus::MetricType::Counter;
inline constexpr auto gauge = prometheus::MetricType::Gauge;

// Of these the meter knows more, where it runs.
inline constexpr const char* cpu_seconds_name = "vm_cpu_seconds_total";
inline constexpr const char* cpu_seconds_help =
    "CPU time used on behalf of the VM, by kind. Without the meter: its vCPUs (guest code included) and vhost workers alone.";

inline constexpr Field vm_fields[] = {
    {"vcpu_ns", cpu_seconds_name, counter, nanosecond, "kind", "vcpu", cpu_seconds_help},
    {"vhost_ns", cpu_seconds_name, counter, nanosecond, "kind", "vhost", nullptr},
    {"used_ns", "vm_used_seconds_total", counter, nanosecond, nullptr, nullptr, "CPU time paid from the VM's own budgets."},
    {"boost_ns", "vm_borrowed_seconds_total", counter, nanosecond, nullptr, nullptr, "CPU time borrowed from providers."},
    {"valve_ns", "vm_valve_seconds_total", counter, nanosecond, nullptr, nullptr, "CPU time beyond the budget, for more threads than it can serve in time."},
    {"rt_ns", "vm_realtime_seconds_total", counter, nanosecond, nullptr, nullptr,
     "CPU time of the VM's real-time and deadline threads, which no budget holds back."},
    {"stray_ns", "vm_stray_seconds_total", counter, nanosecond, nullptr, nullptr, "CPU time on CPUs where the VM has no server, paid from its budget."},
    {"stolen_ns", "vm_stolen_seconds_total", counter, nanosecond, nullptr, nullptr,
     "Time ready to run while a real-time thread or the host's floor had the CPU."},
    {"throttled_ns", "vm_throttled_seconds_total", counter, nanosecond, nullptr, nullptr, "Time that the VM's servers were throttled, added up."},
    {"throttled", "vm_throttlings_total", counter, 1, nullptr, nullptr, "Times that a server of the VM was throttled."},
    {"periods", "vm_periods_total", counter, 1, nullptr, nullptr, "Replenishments of the VM's budgets."},
    {"overruns", "vm_budget_overruns_total", counter, 1, nullptr, nullptr, "Budgets overdrawn by more than 100 us."},
    {"overrun_max_ns", "vm_budget_overrun_max_seconds", gauge, nanosecond, nullptr, nullptr, "Most that a budget was overdrawn at once."},
    {"misses", "vm_deadline_misses_total", counter, 1, nullptr, nullptr, "Deadlines passed with budget left and work waiting."},
    {"debt_ns", "vm_debt_seconds", gauge, nanosecond, nullptr, nullptr, "CPU time that the next budgets owe."},
    {"cost_ns", "vm_cost_seconds_total", counter, nanosecond, nullptr, nullptr, "CPU time that the host spent for the VM outside its threads, charged to it."},
    {"cost_paid_ns", "vm_cost_paid_seconds_total", counter, nanosecond, nullptr, nullptr, "Of that, what its budgets have paid."},
    {"granted", "vm_boosts_total", counter, 1, "result", "granted",
     "Packets that found the budget spent: served by a provider, not served by one, or never picked up."},
    {"denied", "vm_boosts_total", counter, 1, "result", "denied", nullptr},
    {"expired", "vm_boosts_total", counter, 1, "result", "expired", nullptr},
    {"blocked", "vm_boosts_blocked_total", counter, 1, nullptr, nullptr, "Packets that found every provider taken at first."},
    {"unasked", "vm_boosts_unasked_total", counter, 1, nullptr, nullptr, "Packets that waited though no provider was asked: a fault of the class."},
    {"hastened", "vm_hastened_total", counter, 1, nullptr, nullptr, "Parts of the budget that ran under a nearer deadline."},
    {"migrated", "vm_migrated_threads_total", counter, 1, nullptr, nullptr, "Threads queued from another CPU."},
    {"rx_packets", "vm_packets_total", counter, 1, "dir", "rx",
     "Packets to the VM that the hook has seen (rx), and from it that its taps have received (tx)."},
    {"tx_packets", "vm_packets_total", counter, 1, "dir", "tx", nullptr},
    {"rx_dropped", "vm_packets_dropped_total", counter, 1, "dir", "rx", "Packets to (rx) and from (tx) the VM that its taps dropped."},
    {"tx_dropped", "vm_packets_dropped_total", counter, 1, "dir", "tx", nullptr},
    {"net_ns", "vm_network_limited_seconds_total", counter, nanosecond, nullptr, nullptr, "Network work charged to the VM's limit (spare.net.max)."},
    {"net_held", "vm_network_held_total", counter, 1, nullptr, nullptr, "Times that a vhost worker of the VM had to wait for that limit."},
    {"net_rx_dropped", "vm_network_limit_dropped_total", counter, 1, "dir", "rx", "Packets to (rx) and from (tx) the VM that were dropped for that limit."},
    {"net_tx_dropped", "vm_network_limit_dropped_total", counter, 1, "dir", "tx", nullptr},
    {"lat_max_ns", "vm_first_service_max_seconds", gauge, nanosecond, nullptr, nullptr, "Longest first-service latency so far."},
    {"placed", "vm_placed", gauge, 1, nullptr, nullptr, "1: the VM has servers; 0: its reservation has no effect."},
    {"nr_servers", "vm_servers", gauge, 1, nullptr, nullptr, "Servers of the VM, one for each of its CPUs."},
    {"nr_throttled", "vm_throttled_servers", gauge, 1, nullptr, nullptr, "Of these, throttled now."},
};

inline constexpr Field provider_fields[] = {
    {"lent_ns", "provider_lent_seconds_total", counter, nanosecond, nullptr, nullptr, "CPU time lent."},
    {"granted", "provider_loans_total", counter, 1, nullptr, nullptr, "Loans given."},
    {"blocked", "provider_blocked_total", counter, 1, nullptr, nullptr, "Packets that asked it first and found every provider taken."},
};

}  // namespace spare
