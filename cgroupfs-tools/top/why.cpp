// SPDX-License-Identifier: GPL-2.0-only
#include "top/why.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <optional>

#include "cpu_list.hpp"
#include "duration.hpp"
#include "top/pool_row.hpp"

namespace sparectl::top {
namespace {

using C = Counter;

// What rules look at.
struct Case {
  const Interval& interval;
  const VmPair& vm;
  std::vector<PoolPair> pools;  // from which it may borrow

  [[nodiscard]] double share(Counter counter) const { return vm.percent(counter).value_or(0); }
  [[nodiscard]] double had(Counter counter) const { return vm.had(counter).value_or(0); }
  [[nodiscard]] double servers() const { return std::max(1.0, vm.value(C::nr_servers).value_or(1)); }
  [[nodiscard]] double throttled_share() const { return share(C::throttled_ns) / servers(); }
  [[nodiscard]] double used_share() const { return share(C::used_ns) + share(C::boost_ns); }
  [[nodiscard]] std::string reservation() const {
    return spare::format_reservation(spare::Reservation{vm.now->runtime_us, vm.now->period_us});
  }
  // Of one server, what is not its own, ms: what a packet may wait for that finds its budget spent.
  [[nodiscard]] double gap_ms() const { return static_cast<double>(vm.now->period_us - std::min(vm.now->period_us, vm.now->runtime_us)) / 1e3; }
};

using Found = std::optional<std::pair<double, std::string>>;  // weight and text

std::string packets(double n) { return fmt::format("{:.0f} {}", n, n == 1 ? "packet" : "packets"); }

Found no_class(const Case& c) {
  if (c.interval.now().class_runs || c.vm.now->capped || c.vm.now->period_us == 0) {
    return {};
  }
  return {{1000, "the class does not run: nothing keeps its reservation, and no packet wakes it early; start spared"}};
}

Found unplaced(const Case& c) {
  if (c.vm.now->capped || c.vm.now->period_us == 0 || c.vm.value(C::placed) != 0) {
    return {};
  }
  return {{900, "it has a reservation and no CPU: write spare.cpus (sparectl set -c), or see `sparectl show` why spared placed it nowhere"}};
}

Found no_rates(const Case& c) {
  return c.vm.before == nullptr || c.vm.seconds <= 0 ? Found({800, "it has only just been found: ask again in a second"}) : Found();
}

Found throttled_most(const Case& c) {
  const double part = c.throttled_share();
  if (part < 5) {
    return {};
  }
  return {{part, fmt::format("{:.0f} % of the time its budget ({}) is used up", part, c.vm.now->capped ? "cpu.max " + c.reservation() : c.reservation())}};
}

Found denied_packets(const Case& c) {
  const double n = c.had(C::denied);
  if (n == 0) {
    return {};
  }
  for (const PoolPair& pool : c.pools) {
    if (pool.blocked.value_or(0) == 0) {
      continue;
    }
    const auto size = pool.size_for(0.01);
    const std::string help = size && *size > pool.most_on_a_cpu ? fmt::format("; {} on each CPU would do (sparectl plan)", *size) : "; sparectl plan says how many spares it needs";
    return {{200 + n, fmt::format("{} denied: pool {} is full on CPU {}{}", packets(n), pool.path, spare::format_cpu_list(pool.cpus), help)}};
  }
  return {{200 + n, fmt::format("{} denied: its own budget was back before a spare could serve them", packets(n))}};
}

Found no_provider(const Case& c) {
  if (c.vm.now->capped || !c.vm.now->use.empty() || c.throttled_share() < 5 || c.had(C::rx_packets) == 0) {
    return {};
  }
  return {{c.throttled_share() / 2, fmt::format("it may borrow from nobody: a packet that finds the budget spent waits up to {:.0f} ms; give it a pool (sparectl link)", c.gap_ms())}};
}

Found no_tap(const Case& c) {
  if (c.vm.now->capped || c.vm.now->use.empty() || !c.vm.now->netdev.empty() || c.throttled_share() < 5) {
    return {};
  }
  return {{c.throttled_share() / 2, "it may borrow, but has no tap (spare.netdev): no packet wakes it; sparectl set -n"}};
}

Found contended(const Case& c) {
  const double ready = c.share(C::wait_ns) - c.share(C::throttled_ns) - c.share(C::stolen_ns);
  if (ready < 10 || c.vm.now->capped) {
    return {};
  }
  return {{ready, fmt::format("its threads are ready {:.0f} % of a CPU while its budget is not spent: others have their turn first, or it has more threads than CPUs", ready)}};
}

Found stolen(const Case& c) {
  const double part = c.share(C::stolen_ns);
  return part < 1 ? Found() : Found({2 * part, fmt::format("real-time or deadline threads of the host take {:.0f} % of a CPU from it", part)});
}

Found stray(const Case& c) {
  const double part = c.share(C::stray_ns);
  return part < 1 ? Found()
                  : Found({part, fmt::format("{:.0f} % of a CPU of it ran where it has no server, without guarantee: look at its affinity and cpuset (sparectl show)", part)});
}

Found real_time(const Case& c) {
  const double part = c.share(C::rt_ns);
  return part < 1 ? Found() : Found({part, fmt::format("its own real-time threads run {:.0f} % of a CPU beside the budget, which the next budgets pay", part)});
}

// Part of debt_ns, and spread over an interval: under a steady load it stands at one or two intervals of that.
double owed_cost_ns(const Case& c) { return c.vm.value(C::cost_owed_ns).value_or(0); }

Found in_debt(const Case& c) {
  const double debt_ms = (c.vm.value(C::debt_ns).value_or(0) - owed_cost_ns(c)) / 1e6, each_ms = static_cast<double>(c.vm.now->runtime_us) / 1e3;
  if (debt_ms < 0.1 || each_ms == 0) {
    return {};
  }
  return {{10 + 10 * debt_ms / each_ms, fmt::format("its next budgets owe {:.1f} ms, {:.1f} of them", debt_ms, debt_ms / each_ms)}};
}

// (What is left of budgets pays as well, and a VM that leaves some is not slow for that.)
Found cost(const Case& c) {
  const double part = c.share(C::cost_paid_ns);
  return part < 1 || c.throttled_share() < 5 ? Found()
                  : Found({part, fmt::format("{:.0f} % of a CPU of its budgets pays for softirqs that serve its packets, {:.1f} ms are still owed: reserve more "
                                             "(sparectl set -r), or sparectl set --policy charge=none", part, owed_cost_ns(c) / 1e6)});
}

Found valve(const Case& c) {
  const double part = c.share(C::valve_ns);
  return part < 1 ? Found() : Found({part, "it has more threads than its budget can serve in time: fewer vCPUs, or more runtime (sparectl set -r)"});
}

Found missed(const Case& c) {
  const double n = c.had(C::misses);
  return n == 0 ? Found() : Found({50 + n, fmt::format("{:.0f} deadlines passed with budget left: its CPU does not keep what it has promised (sparectl status --json: host_overrun_ns)", n)});
}

Found drops(const Case& c) {
  const double n = c.had(C::rx_dropped), came = c.had(C::rx_packets) + n;
  return n == 0 ? Found() : Found({20 + 100 * n / came, fmt::format("its taps dropped {} of {:.0f} to it: its network threads get too little CPU, or the guest does not take them", packets(n), came)});
}

Found limited(const Case& c) {
  const double held = c.had(C::net_held), n = c.had(C::net_rx_dropped) + c.had(C::net_tx_dropped);
  return held + n == 0 ? Found()
                       : Found({40, fmt::format("its network work is at its limit, {:.1f} % of a CPU: vhost waited {:.0f} times, {} were dropped: a larger one is sparectl set --net-max",
                                                c.share(C::net_ns), held, packets(n))});
}

// (A guest that always has something to do ends nearly all of them so.)
Found short_grants(const Case& c) {
  const double n = c.had(C::short_grant) + c.had(C::short_gain) + c.had(C::short_q), all = c.had(C::granted);
  return n == 0 || n < all / 10 ? Found() : Found({15, fmt::format("{:.0f} of {:.0f} grants ended while a vCPU would have run on: sparectl show says which setting makes them longer", n, all)});
}

Found network(const Case& c) {
  const double net = c.share(C::bill_vhost) + c.share(C::bill_softirq_rx) + c.share(C::bill_softirq_tx);
  const double all = c.vm.billed().value_or(0) / c.vm.seconds / 1e7;
  return all < 1 || net < all / 5 ? Found() : Found({net / all * 20, fmt::format("{:.0f} % of what it costs is its network", 100 * net / all)});
}

Found full_vcpus(const Case& c) {
  const double all = 100 * (c.vm.now->capped ? 1 : c.servers());
  return c.used_share() < 0.95 * all ? Found() : Found({5, fmt::format("it uses the {:.0f} % of a CPU that its CPUs can give: more vCPUs on more CPUs, or a faster host", all)});
}

struct Rule {
  const char* name;
  Found (*look)(const Case& c);
};
constexpr Rule rules[] = {
    {"no_class", no_class}, {"unplaced", unplaced},     {"no_rates", no_rates}, {"throttled", throttled_most}, {"denied", denied_packets},
    {"no_provider", no_provider}, {"no_tap", no_tap},   {"contended", contended}, {"stolen", stolen},          {"stray", stray},
    {"real_time", real_time}, {"debt", in_debt},        {"cost", cost},         {"valve", valve},       {"missed", missed},            {"drops", drops},  {"limited", limited},
    {"short", short_grants},
    {"network", network},     {"full", full_vcpus},
};

Reason nothing_found(const Case& c) {
  const std::string had = c.vm.now->period_us == 0 ? std::string() : fmt::format(" of the {:.0f} % that it is given", 100 * c.servers() * static_cast<double>(c.vm.now->runtime_us) / static_cast<double>(c.vm.now->period_us));
  return {"nothing", 0, fmt::format("by these counters it is not: it uses {:.0f} % of a CPU{}, and is never held back", c.used_share(), had)};
}

}  // namespace

std::vector<Reason> why_slow(const Interval& longer, const std::string& path) {
  const auto vm = std::find_if(longer.vms().begin(), longer.vms().end(), [&](const VmPair& one) { return one.now->path == path; });
  if (vm == longer.vms().end()) {
    return {{"gone", 0, "it is gone"}};
  }
  Case c{longer, *vm, pools_in(longer)};
  std::erase_if(c.pools, [&](const PoolPair& pool) { return !uses(*vm->now, pool); });
  std::vector<Reason> found;
  for (const Rule& rule : rules) {
    if (auto reason = rule.look(c)) {
      found.push_back({rule.name, reason->first, std::move(reason->second)});
    }
  }
  std::stable_sort(found.begin(), found.end(), [](const Reason& a, const Reason& b) { return a.weight > b.weight; });
  return found.empty() ? std::vector<Reason>{nothing_found(c)} : found;
}

}  // namespace sparectl::top
