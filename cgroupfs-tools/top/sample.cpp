// SPDX-License-Identifier: GPL-2.0-only
#include "top/sample.hpp"

#include <unordered_map>

namespace sparectl::top {

const std::array<CounterInfo, counters> counter_table = {{
    {"placed", true}, {"nr_servers", true}, {"nr_throttled", true}, {"used_ns", false}, {"boost_ns", false}, {"lent_ns", false}, {"periods", false},
    {"throttled", false}, {"throttled_ns", false}, {"overruns", false}, {"misses", false}, {"granted", false}, {"denied", false}, {"expired", false},
    {"unasked", false}, {"short", false}, {"short_gain", false}, {"short_q", false}, {"blocked", false}, {"hastened", false}, {"migrated", false}, {"stray_ns", false}, {"stolen_ns", false}, {"valve_ns", false},
    {"cost_paid_ns", false}, {"lat_sum_ns", false}, {"lat_max_ns", true}, {"debt_ns", true}, {"cost_owed_ns", true}, {"rt_ns", false}, {"rx_packets", false}, {"rx_dropped", false}, {"tx_packets", false}, {"tx_dropped", false},
    {"net_ns", false}, {"net_held", false}, {"net_rx_dropped", false}, {"net_tx_dropped", false},
    {"lat_us_le_64", false}, {"lat_us_le_128", false}, {"lat_us_le_256", false},
    {"lat_us_le_512", false}, {"lat_us_le_1024", false}, {"lat_us_le_2048", false}, {"lat_us_le_4096", false}, {"lat_us_le_8192", false},
    {"lat_us_le_16384", false}, {"lat_us_le_32768", false}, {"lat_us_le_65536", false}, {"lat_us_le_131072", false}, {"lat_us_le_262144", false},
    {"lat_us_le_524288", false}, {"lat_us_le_1048576", false}, {"lat_us_le_inf", false}, {"bill.guest", false}, {"bill.vcpu", false},
    {"bill.vhost", false}, {"bill.iothread", false}, {"bill.emulator", false}, {"bill.kthread", false}, {"bill.softirq_rx", false},
    {"bill.softirq_tx", false}, {"bill.irq", false}, {"bill.rx_packets", false}, {"bill.tx_packets", false}, {"threads.run_ns", false},
    {"threads.wait_ns", false}, {"threads.runs", false},
}};

const std::array<CounterInfo, cpu_counters> cpu_counter_table = {{
    {"bill.elapsed", false}, {"bill.vms", false}, {"bill.task", false}, {"bill.network", false}, {"bill.idle", false}, {"bill.deadline", false},
    {"bill.realtime", false}, {"bill.softirq", false}, {"bill.irq", false}, {"stat.busy", false}, {"stat.idle", false}, {"stat.irq", false},
    {"stat.softirq", false}, {"stat.steal", false}, {"stat.guest", false}, {"deadline_ppm", true},
}};

std::optional<Counter> counter_of(std::string_view name) {
  static const auto all = [] {
    std::unordered_map<std::string_view, Counter> by_name;
    for (std::size_t i = 0; i < counters; i++) {
      by_name.emplace(counter_table[i].name, static_cast<Counter>(i));
    }
    return by_name;
  }();
  const auto found = all.find(name);
  return found == all.end() ? std::nullopt : std::optional(found->second);
}

const char* text_of(ServerState state) {
  switch (state) {
    case ServerState::inactive:
      return "inactive";
    case ServerState::ready:
      return "ready";
    case ServerState::running:
      return "running";
    case ServerState::throttled:
      return "throttled";
    case ServerState::unknown:
      break;
  }
  return "?";
}

}  // namespace sparectl::top
