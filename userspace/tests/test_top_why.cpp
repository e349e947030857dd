// SPDX-License-Identifier: GPL-2.0-only
#include <catch2/catch_test_macros.hpp>
#include <functional>

#include "top/why.hpp"
#include "top_samples.hpp"

using top::Counter;

namespace {

constexpr std::uint64_t ms = 1000000;

std::vector<top::Reason> reasons(const top::VmSample& vm, std::vector<top::VmSample> others = {}) {
  others.push_back(vm);
  return top::why_slow(second_of(std::move(others)), vm.path);
}

// The text of a rule; empty: it does not apply.
std::string said(const char* rule, const top::VmSample& vm, std::vector<top::VmSample> others = {}) {
  for (const top::Reason& reason : reasons(vm, std::move(others))) {
    if (rule == std::string(reason.rule)) {
      return reason.text;
    }
  }
  return "";
}

bool has(const std::string& text, const char* part) { return text.find(part) != std::string::npos; }

top::VmSample with(std::initializer_list<std::pair<Counter, std::uint64_t>> values) { return vm_of("/vm/a", values); }

top::VmSample spare_of(const char* path, std::uint64_t lent_ms, std::uint64_t blocked) {
  auto provider = vm_of(path, {{Counter::lent_ns, lent_ms * ms}, {Counter::granted, 10}, {Counter::blocked, blocked}});
  provider.provider = true;
  provider.runtime_us = 4000;
  provider.period_us = 10000;
  provider.servers = {{2, top::ServerState::ready, false, 0, 0, 0}};
  return provider;
}

}  // namespace

TEST_CASE("top, why: throttled, with the part of the time") {
  CHECK(has(said("throttled", with({{Counter::throttled_ns, 600 * ms}})), "60 % of the time its budget (40ms/100ms) is used up"));
  CHECK(has(said("throttled", with({{Counter::throttled_ns, 600 * ms}, {Counter::nr_servers, 2}})), "30 %"));
  CHECK(said("throttled", with({{Counter::throttled_ns, 10 * ms}})).empty());
}

TEST_CASE("top, why: denied packets name the pool that is full, its CPU, and a size that would do") {
  auto vm = with({{Counter::throttled_ns, 600 * ms}, {Counter::denied, 3}});
  vm.use = "/net";
  vm.netdev = "tap0";
  const auto all = reasons(vm, {spare_of("/net/p0", 100, 5)});
  CHECK(has(all[0].text, "3 packets denied: pool /net is full on CPU 2; 3 on each CPU would do"));
  CHECK(all[1].rule == std::string("throttled"));
  CHECK(has(said("denied", vm, {spare_of("/net/p0", 100, 0)}), "its own budget was back"));
  CHECK(has(said("denied", vm, {spare_of("/other/p0", 100, 5)}), "its own budget was back"));
  CHECK(said("denied", with({})).empty());
}

TEST_CASE("top, why: nobody to borrow from, or no tap") {
  auto vm = with({{Counter::throttled_ns, 600 * ms}, {Counter::rx_packets, 9}});
  CHECK(has(said("no_provider", vm), "waits up to 60 ms"));
  vm.use = "/net";
  CHECK(said("no_provider", vm).empty());
  CHECK(has(said("no_tap", vm), "has no tap"));
  vm.netdev = "tap0";
  CHECK(said("no_tap", vm).empty());
}

TEST_CASE("top, why: what takes its CPU") {
  CHECK(has(said("contended", with({{Counter::wait_ns, 500 * ms}, {Counter::throttled_ns, 300 * ms}})), "ready 20 % of a CPU"));
  CHECK(said("contended", with({{Counter::wait_ns, 500 * ms}, {Counter::throttled_ns, 450 * ms}})).empty());
  CHECK(has(said("stolen", with({{Counter::stolen_ns, 120 * ms}})), "take 12 % of a CPU"));
  CHECK(has(said("stray", with({{Counter::stray_ns, 50 * ms}})), "5 % of a CPU"));
  CHECK(has(said("real_time", with({{Counter::rt_ns, 50 * ms}})), "5 % of a CPU"));
  CHECK(has(said("valve", with({{Counter::valve_ns, 50 * ms}})), "more threads"));
  CHECK(has(said("missed", with({{Counter::misses, 4}})), "4 deadlines"));
}

TEST_CASE("top, why: debt, drops, network") {
  CHECK(has(said("debt", with({{Counter::debt_ns, 20 * ms}})), "owe 20.0 ms, 0.5 of them"));
  CHECK(has(said("debt", with({{Counter::debt_ns, 20 * ms}, {Counter::cost_owed_ns, 16 * ms}})), "owe 4.0 ms, 0.1 of them"));
  CHECK(said("debt", with({{Counter::debt_ns, 20 * ms}, {Counter::cost_owed_ns, 20 * ms}})).empty());
  CHECK(has(said("cost", with({{Counter::throttled_ns, 600 * ms}, {Counter::cost_paid_ns, 60 * ms}, {Counter::cost_owed_ns, 16 * ms}})), "6 % of a CPU of its budgets pays for softirqs that serve its packets, 16.0 ms"));
  CHECK(said("cost", with({{Counter::cost_paid_ns, 60 * ms}})).empty());
  CHECK(has(said("limited", with({{Counter::net_ns, 500 * ms}, {Counter::net_held, 7}, {Counter::net_rx_dropped, 10}})), "vhost waited 7 times, 10 packets were dropped"));
  CHECK(has(said("drops", with({{Counter::rx_packets, 90}, {Counter::rx_dropped, 10}})), "dropped 10 packets of 100"));
  CHECK(has(said("network", with({{Counter::bill_guest, 300 * ms}, {Counter::bill_vhost, 60 * ms}, {Counter::bill_softirq_rx, 40 * ms}})), "25 %"));
  CHECK(said("network", with({{Counter::bill_guest, 300 * ms}, {Counter::bill_vhost, 20 * ms}})).empty());
}

TEST_CASE("SPARE-10: top, why: grants that were too short") {
  CHECK(has(said("short", with({{Counter::granted, 10}, {Counter::short_grant, 2}, {Counter::short_q, 1}})), "3 of 10 grants ended"));
  CHECK(said("short", with({{Counter::granted, 100}, {Counter::short_gain, 2}})).empty());
}

TEST_CASE("top, why: its CPUs give no more; and by its counters it is not slow") {
  CHECK(has(said("full", with({{Counter::used_ns, 990 * ms}})), "100 % of a CPU"));
  CHECK(has(said("nothing", with({{Counter::used_ns, 120 * ms}})), "it uses 12 % of a CPU of the 40 % that it is given"));
}

TEST_CASE("top, why: no class, no CPU, not yet known, gone") {
  auto vm = with({{Counter::placed, 0}});
  CHECK(has(said("unplaced", vm), "no CPU"));
  const auto known = shared(sample_of(0, {with({})}));
  CHECK(top::why_slow(top::Interval(nullptr, known), "/vm/a")[0].rule == std::string("no_rates"));
  CHECK(top::why_slow(top::Interval(nullptr, known), "/vm/none")[0].rule == std::string("gone"));
  auto off = sample_of(1, {with({})});
  off.class_runs = false;
  CHECK(top::why_slow(top::Interval(known, shared(off)), "/vm/a")[0].rule == std::string("no_class"));
  off.vms[0].capped = true;
  CHECK(top::why_slow(top::Interval(known, shared(off)), "/vm/a")[0].rule != std::string("no_class"));
}
