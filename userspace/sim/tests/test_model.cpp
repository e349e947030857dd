// SPDX-License-Identifier: GPL-2.0-only
//
// The parts of the simulator against known values, and that it is deterministic.
#include <catch2/catch_approx.hpp>
#include <catch2/catch_test_macros.hpp>
#include <cmath>
#include <cstdio>
#include <fstream>

#include "generate.hpp"
#include "sim/arrivals.hpp"
#include "sim/erlang.hpp"
#include "sim/random.hpp"

using Catch::Approx;
using namespace spare::sim;

TEST_CASE("SPARE-5: Erlang-B: tabulated values, and the sum formula") {
  CHECK(erlang_b(0, 3) == 1);
  CHECK(erlang_b(1, 1) == Approx(0.5));
  CHECK(erlang_b(2, 1) == Approx(0.2));
  CHECK(erlang_b(5, 0) == 0);
  /* Load in erlangs at which k servers block 1 %: the usual traffic tables. */
  CHECK(erlang_b(1, 0.0101) == Approx(0.01).epsilon(0.01));
  CHECK(erlang_b(5, 1.361) == Approx(0.01).epsilon(0.01));
  CHECK(erlang_b(10, 4.461) == Approx(0.01).epsilon(0.01));
  CHECK(erlang_b(100, 84.06) == Approx(0.01).epsilon(0.01));
  for (unsigned k = 0; k <= 15; k++) {
    for (const double load : {0.05, 0.7, 3.0, 12.0}) {
      double term = 1, sum = 1;
      for (unsigned i = 1; i <= k; i++) {
        sum += term *= load / i;
      }
      CHECK(erlang_b(k, load) == Approx(term / sum));
    }
  }
  /* Where the sum's terms overflow. */
  CHECK(erlang_b(1000, 2000) == Approx(0.5).epsilon(0.01));
  CHECK(erlang_b(5000, 1) < 1e-300);
}

TEST_CASE("SPARE-5: servers needed: facts of the theory") {
  struct Case {
    double load;
    unsigned k[3];
  };
  for (const Case& c :
       {Case{0.05, {2, 3, 3}}, Case{0.1, {2, 3, 4}}, Case{0.5, {4, 5, 6}}, Case{1, {5, 6, 7}}, Case{4, {10, 12, 14}}}) {
    CHECK(erlang_b_servers(c.load, 1e-2, 100) == c.k[0]);
    CHECK(erlang_b_servers(c.load, 1e-3, 100) == c.k[1]);
    CHECK(erlang_b_servers(c.load, 1e-4, 100) == c.k[2]);
  }
  CHECK_FALSE(erlang_b_servers(50, 1e-3, 8));
}

TEST_CASE("SPARE-5: finite sources lose less than infinitely many, and nothing when there are no more than servers") {
  CHECK(engset(2, 16, 0.01) == Approx(0.009).epsilon(0.05));
  CHECK(engset(3, 16, 0.01) == Approx(0.00039).epsilon(0.05));
  CHECK(engset(4, 64, 0.05) == Approx(0.21).epsilon(0.05));
  CHECK(engset(4, 4, 10) == 0);
  CHECK(engset(3, 100000, 1e-5) == Approx(erlang_b(3, 1)).epsilon(0.001));
}

TEST_CASE("CBS-4: the supply bound function: values of (40,100) and (4,10), and its inverse") {
  CHECK(supply_bound(40, 100, 120) == 0);
  CHECK(supply_bound(40, 100, 140) == 20);
  CHECK(supply_bound(40, 100, 160) == 40);
  CHECK(supply_bound(4, 10, 12) == 0);
  CHECK(supply_bound(4, 10, 20) == 4);
  CHECK(supply_bound(4, 10, 100) == 36);
  for (const auto& [q, p] : {std::pair<std::uint64_t, std::uint64_t>{40, 100}, {4, 10}, {1, 7}, {7, 7}, {99, 100}}) {
    for (std::uint64_t demand = 1; demand < 3 * q + 2; demand++) {
      const std::uint64_t t = supply_delay(q, p, demand);
      CHECK(supply_bound(q, p, t) >= demand);
      CHECK(supply_bound(q, p, t - 1) < demand);
    }
  }
}

TEST_CASE("SPARE-5: how long a mark holds a provider") {
  const spare::Reservation vm{40000, 100000}, spare{4000, 10000};
  CHECK(hold_us(vm, spare, 2000) == Approx(10000 - 10000.0 * 10000 / 120000));
  CHECK(hold_us(vm, spare, 1e9) == Approx(30000));  // until the budget is back
  CHECK(hold_us({100, 100}, spare, 2000) == 0);     // never throttled
  CHECK(claims_hz(vm, 10) == Approx(6));
}

TEST_CASE("simulator: percentiles are at most their bucket too high") {
  Histogram histogram;
  Random random(5, 5);
  std::vector<std::uint64_t> values;
  for (unsigned i = 0; i < 20000; i++) {
    values.push_back(static_cast<std::uint64_t>(std::exp(random.unit() * 23)));
    histogram.add(values.back());
  }
  std::sort(values.begin(), values.end());
  CHECK(histogram.count() == values.size());
  CHECK(histogram.max_ns() == values.back());
  for (const double p : {0.01, 0.5, 0.9, 0.99, 0.999}) {
    const std::uint64_t exact = values[static_cast<std::size_t>(p * static_cast<double>(values.size()))];
    CHECK(histogram.percentile(p) >= exact);
    CHECK(static_cast<double>(histogram.percentile(p)) <= static_cast<double>(exact) * (1 + 1.0 / 16) + 1000);
  }
  Histogram sum;
  sum.add(histogram);
  sum.add(Histogram());
  CHECK(sum.percentile(0.9) == histogram.percentile(0.9));
  CHECK(Histogram().percentile(0.5) == 0);
}

TEST_CASE("simulator: arrivals have the rate and the order that was asked for") {
  Traffic traffic;
  traffic.poisson_hz = 100;
  traffic.on_s = 0.1, traffic.off_s = 0.3, traffic.on_hz = 400;
  traffic.broadcast_ns = 20 * ms;
  std::uint64_t n = 0;
  Arrivals arrivals(traffic, 7, 3), again(traffic, 7, 3);
  for (Time last = 0; arrivals.next() < 1000 * second; arrivals.pop(), again.pop()) {
    REQUIRE(arrivals.next() >= last);
    REQUIRE(again.next() == arrivals.next());
    last = arrivals.next();
    n += arrivals.count();
  }
  CHECK(static_cast<double>(n) == Approx(1000 * (100 + 400 * 0.25 + 50)).epsilon(0.03));
  CHECK(Arrivals(Traffic(), 1, 1).next() == Arrivals::never);
}

TEST_CASE("simulator: recorded packets are read, and what is wrong in them is named") {
  const std::string path = std::tmpnam(nullptr);
  const auto read = [&](const char* text) {
    std::ofstream(path) << text;
    auto packets = read_recorded(path, 2);
    std::remove(path.c_str());
    return packets;
  };
  const auto good = read("time_us,vm\n3,1\n1.5,0\r\n2,1\n\n");
  REQUIRE(good);
  CHECK((*good)[0] == std::vector<Time>{1500});
  CHECK((*good)[1] == std::vector<Time>{2000, 3000});
  CHECK(read("1,0\n2,2\n").error().text.ends_with(":2: there is no VM 2: they are 0 to 1"));
  CHECK(read("1,0\n1;0\n").error().text.ends_with(":2: '1;0' is not 'time_us,vm'"));
  CHECK_FALSE(read("1,0\n-1,0\n"));
  CHECK_FALSE(read("1,0\n1,0,0\n"));
  CHECK_FALSE(read_recorded(path, 2));
}

TEST_CASE("CBS-6, CBS-7: a system that the module would refuse is refused, by the name of what is wrong") {
  System system;
  system.cpus = 2;
  Vm vm;
  vm.reservation = {40000, 100000};
  vm.cpus = {1};
  system.vms = {vm, vm};
  CHECK(check(system, 900000));
  system.vms.push_back(vm);
  CHECK(check(system, 900000).error().text == "CPU 1 is full: 120.00 % of it asked, 90.00 % admitted");
  system.vms = {vm};
  system.vms[0].cpus = {1, 1};
  CHECK_FALSE(check(system, 900000));
  system.vms[0].cpus = {2};
  CHECK_FALSE(check(system, 900000));
  system.vms[0].cpus = {0};
  system.vms[0].pool = 0;
  CHECK_FALSE(check(system, 900000));
  system.pools = {{{4000, 10000}, 1}};
  CHECK(check(system, 900000));
  system.pools[0].size = 2;
  CHECK_FALSE(check(system, 900000));
  system.pools[0] = {{100, 1000000}, 1};
  CHECK(check(system, 900000).error().text.starts_with("pool 0: 100us/1s is outside"));
}

TEST_CASE("simulator: the same seed gives the same result, for any number of threads") {
  System system;
  system.cpus = 8;
  system.pools = {{{1000, 10000}, 2}};
  for (unsigned i = 0; i < 40; i++) {
    Vm vm;
    vm.reservation = {8000, 100000};
    vm.cpus = {i % 8};
    vm.pool = 0;
    vm.traffic.poisson_hz = 50;
    system.vms.push_back(vm);
  }
  const Result one = simulate(system), four = simulate(system, {.threads = 4});
  system.seed = 2;
  const Result other = simulate(system);
  CHECK(one.events == four.events);
  CHECK(one.events != other.events);
  for (std::size_t i = 0; i < system.vms.size(); i++) {
    CHECK(one.vms[i].use.used_ns == four.vms[i].use.used_ns);
    CHECK(one.vms[i].use.boost_ns == four.vms[i].use.boost_ns);
    CHECK(one.vms[i].latency.percentile(0.5) == four.vms[i].latency.percentile(0.5));
  }
}
