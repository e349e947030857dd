// SPDX-License-Identifier: GPL-2.0-only
#include <catch2/catch_approx.hpp>
#include <catch2/catch_test_macros.hpp>
#include <cmath>

#include "top_samples.hpp"

using Catch::Approx;
using top::Counter;

TEST_CASE("ACC-5: rates are what counters grew by, over the time on CLOCK_MONOTONIC") {
  auto before = sample_of(0, {vm_of("/vm/a", {{Counter::used_ns, 5}, {Counter::rx_packets, 100}})});
  auto now = sample_of(2, {vm_of("/vm/a", {{Counter::used_ns, 1000000005}, {Counter::rx_packets, 150}})});
  now.real_ns = before.real_ns - 3600000000000;  // somebody has set the clock
  const top::Interval interval(shared(before), shared(now));
  CHECK(interval.seconds() == Approx(2));
  CHECK(interval.vms()[0].percent(Counter::used_ns) == Approx(50));
  CHECK(interval.vms()[0].per_second(Counter::rx_packets) == Approx(25));
  CHECK_FALSE(interval.vms()[0].per_second(Counter::tx_packets));
}

TEST_CASE("ACC-5: no rate is made of what does not belong together") {
  const auto vm = [](std::uint64_t used) { return vm_of("/vm/a", {{Counter::used_ns, used}}); };
  const auto used = [](const top::Sample& before, const top::Sample& now) {
    const top::Interval interval(shared(before), shared(now));
    return interval.vms()[0].had(Counter::used_ns);
  };
  CHECK(used(sample_of(0, {vm(5)}), sample_of(1, {vm(6)})));
  SECTION("another boot") {
    auto now = sample_of(1, {vm(6)});
    now.boot = "c";
    CHECK_FALSE(used(sample_of(0, {vm(5)}), now));
  }
  SECTION("a clock that stands, or goes back") {
    CHECK_FALSE(used(sample_of(1, {vm(5)}), sample_of(1, {vm(6)})));
    CHECK_FALSE(used(sample_of(2, {vm(5)}), sample_of(1, {vm(6)})));
  }
  SECTION("a cgroup that was removed and made again") {
    auto again = vm(6);
    again.id = 2;
    CHECK_FALSE(used(sample_of(0, {vm(5)}), sample_of(1, {again})));
  }
  SECTION("a counter that began anew: the module was loaded again") { CHECK_FALSE(used(sample_of(0, {vm(5)}), sample_of(1, {vm(4)}))); }
  SECTION("a VM that has come") { CHECK_FALSE(used(sample_of(0, {}), sample_of(1, {vm(4)}))); }
  SECTION("the first sample of all") { CHECK_FALSE(top::Interval(nullptr, shared(sample_of(1, {vm(4)}))).vms()[0].had(Counter::used_ns)); }
}

TEST_CASE("ACC-5: CPUs that come and go") {
  auto before = sample_of(0, {}), now = sample_of(1, {});
  for (const std::uint32_t cpu : {0U, 2U}) {
    before.cpus.push_back({cpu, {}});
    before.cpus.back().values.set(top::CpuCounter::stat_idle, 10);
  }
  for (const std::uint32_t cpu : {1U, 2U}) {
    now.cpus.push_back({cpu, {}});
    now.cpus.back().values.set(top::CpuCounter::stat_idle, 500000010);
  }
  const top::Interval interval(shared(before), shared(now));
  REQUIRE(interval.cpus().size() == 2);
  CHECK_FALSE(interval.cpus()[0].had(top::CpuCounter::stat_idle));
  CHECK(interval.cpus()[1].percent(top::CpuCounter::stat_idle) == Approx(50));
}

TEST_CASE("ACC-5: percentiles are limits of buckets") {
  auto vm = vm_of("/vm/a", {{top::lat(0), 50}, {top::lat(4), 49}, {top::lat(15), 1}});
  const auto interval = second_of({vm});
  CHECK(interval.vms()[0].latency_us(0.5) == Approx(64));
  CHECK(interval.vms()[0].latency_us(0.51) == Approx(1024));
  CHECK(interval.vms()[0].latency_us(0.99) == Approx(1024));
  CHECK(std::isinf(interval.vms()[0].latency_us(0.999).value()));
  CHECK_FALSE(second_of({vm_of("/vm/a")}).vms()[0].latency_us(0.5));
}

TEST_CASE("ACC-5: random samples: each rate is that of a slow look at both") {
  std::mt19937_64 random(1);
  top::Sample before = sample_of(0, {});
  for (int round = 0; round < 300; round++) {
    const top::Sample now = random_successor(before, random);
    const top::Interval interval(shared(before), shared(now));
    const bool clock = before.boot == now.boot && now.monotonic_ns > before.monotonic_ns;
    REQUIRE(interval.known() == clock);
    for (const top::VmPair& pair : interval.vms()) {
      for (std::size_t i = 0; i < top::counters; i++) {
        std::optional<double> expected;
        for (const top::VmSample& had : before.vms) {
          const bool same = clock && had.path == pair.now->path && had.id == pair.now->id && had.values.known[i] && pair.now->values.known[i];
          if (same && pair.now->values.value[i] >= had.values.value[i]) {
            expected = static_cast<double>(pair.now->values.value[i] - had.values.value[i]);
          }
        }
        REQUIRE(pair.had(static_cast<Counter>(i)) == expected);
      }
    }
    before = now;
  }
}

TEST_CASE("ACC-5: the history keeps ten seconds, and thins out what is closer than a second") {
  top::History history;
  for (int i = 0; i <= 300; i++) {
    history.add(shared(sample_of(i * 0.1, {})));
    if (i > 0) {
      REQUIRE(history.short_interval().seconds() == Approx(0.1));
    }
    if (i >= 120) {
      const double seconds = history.long_interval().seconds();
      REQUIRE(seconds >= 10);
      REQUIRE(seconds < 12.2);
    }
  }
  history.add(shared(sample_of(100, {})));
  CHECK(history.long_interval().seconds() == Approx(70));
  auto other = sample_of(101, {});
  other.boot = "c";
  history.add(shared(other));
  CHECK_FALSE(history.long_interval().known());
}
