// SPDX-License-Identifier: GPL-2.0-only
#include <catch2/catch_test_macros.hpp>

#include "top/parse.hpp"

namespace top = sparectl::top;
using top::Counter;

TEST_CASE("spare.stat: counters by their names, servers by their CPUs; what a later module adds is passed over") {
  top::VmSample vm;
  top::parse_spare_stat(
      "class 1\nplaced 1\nnr_servers 2\nused_ns 18446744073709551615\nnew_thing 7\nnew_word x y\nlat_us_le_64 3\nlat_us_le_inf 4\nthrottled 9\nperiods -1\n"
      "cpu1.state throttled\ncpu1.q_ns -5\ncpu1.d_ns 77\ncpu1.used_ns 8\ncpu1.claimed 1\ncpu1.new 1\ncpu12.state ?\ncpux.state ready\ncpu99999999999.q_ns 1\nlast",
      vm);
  CHECK(vm.values.get(Counter::used_ns) == ~std::uint64_t{0});
  CHECK(vm.values.get(top::lat(0)) == 3U);
  CHECK(vm.values.get(top::lat(15)) == 4U);
  CHECK(vm.values.get(Counter::throttled) == 9U);
  CHECK_FALSE(vm.values.get(Counter::periods));
  REQUIRE(vm.servers.size() == 2);
  CHECK(vm.servers[0] == top::ServerSample{1, top::ServerState::throttled, true, -5, 77, 8});
  CHECK(vm.servers[1].cpu == 12);
  CHECK(vm.servers[1].state == top::ServerState::unknown);
}

TEST_CASE("cpu.stat and cpu.max: a cgroup without a reservation") {
  top::VmSample vm;
  top::parse_cpu_stat("usage_usec 12\nuser_usec 1\nnr_periods 4\nnr_throttled 3\nthrottled_usec 5\n", vm);
  CHECK(vm.values.get(Counter::used_ns) == 12000U);
  CHECK(vm.values.get(Counter::throttled_ns) == 5000U);
  top::parse_cpu_max("40000 100000\n", vm);
  CHECK((vm.capped && vm.runtime_us == 40000 && vm.period_us == 100000));
  top::parse_cpu_max("max 100000\n", vm);
  CHECK((!vm.capped && vm.period_us == 0));
}

TEST_CASE("/proc/stat and spare.host: CPUs that are online") {
  auto cpus = top::parse_proc_stat("cpu  9 9 9 9\ncpu2 10 1 2 30 4 5 6 7 8 1\ncpu0 1\nintr 5 6\n");
  REQUIRE(cpus.size() == 2);
  CHECK(cpus[0].cpu == 0);
  CHECK(cpus[1].values.get(top::CpuCounter::stat_busy) == 40000000U);
  CHECK(cpus[1].values.get(top::CpuCounter::stat_guest) == 90000000U);
  CHECK(cpus[1].values.get(top::CpuCounter::stat_idle) == 340000000U);
  top::parse_spare_host("cpu2.deadline_ppm 5\ncpu7.deadline_ppm 6\ncpu0.other 1\n", cpus);
  CHECK(cpus[1].values.get(top::CpuCounter::deadline_ppm) == 5U);
  CHECK_FALSE(cpus[0].values.get(top::CpuCounter::deadline_ppm));
}

TEST_CASE("a thread's schedstat") {
  const auto stat = top::parse_schedstat("12 345 6\n");
  REQUIRE(stat);
  CHECK((stat->run_ns == 12 && stat->wait_ns == 345 && stat->runs == 6));
  CHECK_FALSE(top::parse_schedstat("12 345"));
  CHECK_FALSE(top::parse_schedstat(""));
}
