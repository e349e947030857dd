// SPDX-License-Identifier: GPL-2.0-only
//
// What top, record and report know of one moment: counters that only grow, and some values as they stand. Rates are made of two samples (interval.hpp).
#pragma once

#include <array>
#include <bitset>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace sparectl::top {

// Of a VM or a provider. In the order of counter_table.
enum class Counter : std::uint8_t {
  // spare.stat, in its order
  placed, nr_servers, nr_throttled, used_ns, boost_ns, lent_ns, periods, throttled, throttled_ns, overruns, misses, granted, denied, expired, unasked,
  short_grant, short_gain, short_q, blocked, hastened, migrated, stray_ns, stolen_ns, valve_ns, cost_paid_ns, lat_sum_ns, lat_max_ns, debt_ns, cost_owed_ns, rt_ns, rx_packets, rx_dropped, tx_packets, tx_dropped,
  net_ns, net_held, net_rx_dropped, net_tx_dropped,
  lat_first,
  lat_last = lat_first + 15,
  // the meter
  bill_guest, bill_vcpu, bill_vhost, bill_iothread, bill_emulator, bill_kthread, bill_softirq_rx, bill_softirq_tx, bill_irq, bill_rx, bill_tx,
  // the kernel's account of its threads
  run_ns, wait_ns, runs,
};
inline constexpr std::size_t counters = static_cast<std::size_t>(Counter::runs) + 1;
inline constexpr std::size_t lat_buckets = 16;
constexpr Counter lat(std::size_t bucket) { return static_cast<Counter>(static_cast<std::size_t>(Counter::lat_first) + bucket); }
// In ns, above which no latency of the bucket is; the last has none.
constexpr std::uint64_t lat_limit_ns(std::size_t bucket) { return (std::uint64_t{64000}) << bucket; }

struct CounterInfo {
  const char* name;  // of spare.stat, where it is from there
  bool gauge;        // a value, no counter
};
extern const std::array<CounterInfo, counters> counter_table;
std::optional<Counter> counter_of(std::string_view name);

// Of a CPU. In the order of cpu_counter_table.
enum class CpuCounter : std::uint8_t {
  // the meter
  bill_elapsed, bill_vms, bill_task, bill_network, bill_idle, bill_deadline, bill_realtime, bill_softirq, bill_irq,
  // /proc/stat, in ns
  stat_busy, stat_idle, stat_irq, stat_softirq, stat_steal, stat_guest,
  // spare.host
  deadline_ppm,
};
inline constexpr std::size_t cpu_counters = static_cast<std::size_t>(CpuCounter::deadline_ppm) + 1;
extern const std::array<CounterInfo, cpu_counters> cpu_counter_table;

// Values of which some are not known.
template <typename Name, std::size_t n>
struct Values {
  std::array<std::uint64_t, n> value{};
  std::bitset<n> known;

  void set(Name name, std::uint64_t to) {
    value[static_cast<std::size_t>(name)] = to;
    known.set(static_cast<std::size_t>(name));
  }
  [[nodiscard]] std::optional<std::uint64_t> get(Name name) const {
    return known.test(static_cast<std::size_t>(name)) ? std::optional(value[static_cast<std::size_t>(name)]) : std::nullopt;
  }
  bool operator==(const Values&) const = default;
};

enum class ServerState : std::uint8_t { inactive, ready, running, throttled, unknown };
const char* text_of(ServerState state);

// A VM's server on one CPU.
struct ServerSample {
  std::uint32_t cpu = 0;
  ServerState state = ServerState::unknown;
  bool claimed = false;      // of a provider: somebody borrows from it
  std::int64_t q_ns = 0;     // budget left
  std::uint64_t d_ns = 0;    // deadline, CLOCK_MONOTONIC
  std::uint64_t used_ns = 0;
  bool operator==(const ServerSample&) const = default;
};

struct VmSample {
  std::string path;       // of its cgroup; "pid N" of a VM that has none to itself. As it may be shown (printable())
  std::uint64_t id = 0;   // of the cgroup, or when the process started: the same path with another id is another VM
  std::string name;       // of its guest, else the last part of the path
  std::uint64_t runtime_us = 0, period_us = 0;  // 0: no reservation
  std::string cpus, use, netdev, policy;
  bool provider = false;
  bool capped = false;    // runtime and period are those of cpu.max: there is no reservation
  Values<Counter, counters> values;
  std::vector<ServerSample> servers;
  bool operator==(const VmSample&) const = default;
};

struct CpuSample {
  std::uint32_t cpu = 0;
  Values<CpuCounter, cpu_counters> values;
  bool operator==(const CpuSample&) const = default;
};

struct Sample {
  std::uint64_t monotonic_ns = 0;  // CLOCK_MONOTONIC
  std::int64_t real_ns = 0;        // CLOCK_REALTIME: to show, never to reckon with
  std::string boot;                // id of the boot: the clock and all counters begin anew with another
  std::string state;               // of class, module and daemon, in words
  bool class_runs = false;
  bool metered = false;            // the bill is in it
  std::uint64_t limit_ppm = 0;     // of admission
  std::vector<std::string> missing;  // of the bill, in words
  std::vector<CpuSample> cpus;     // online, by number
  std::vector<VmSample> vms;       // VMs and providers, by path
  bool operator==(const Sample&) const = default;
};

}  // namespace sparectl::top
