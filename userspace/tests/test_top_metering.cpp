// SPDX-License-Identifier: GPL-2.0-only
#include <catch2/catch_test_macros.hpp>

#include "meter/kinds.hpp"
#include "top/metering.hpp"
#include "top_samples.hpp"

using top::Counter;
using top::CpuCounter;

TEST_CASE("ACC-1: the meter's reading joins a sample: VMs by cgroup or process, CPUs by number") {
  top::Sample sample = sample_of(0, {vm_of("/vm/a"), vm_of("/vm/c")});
  sample.cpus = {{0, {}}, {2, {}}};
  spare::Reading reading;
  reading.cpus.resize(2);
  reading.cpus[0].cpu = 2;
  reading.cpus[0].elapsed_ns = 1000;
  reading.cpus[0].host.ns[SPARE_HOST_IDLE] = 400;
  reading.cpus[0].gone.ns[SPARE_KIND_GUEST] = 100;
  reading.cpus[1].cpu = 1;  // offline by now
  const auto vm = [&](const char* cgroup, std::uint64_t id, std::uint64_t guest_ns) {
    spare::VmReading one;
    one.vm.name = "guest";
    one.vm.cgroup = cgroup;
    one.vm.cgroup_id = id;
    one.vm.processes = {{7, 70}};
    one.of_cpu.resize(2);
    one.of_cpu[0].ns[SPARE_KIND_GUEST] = guest_ns;
    one.of_cpu[1].ns[SPARE_KIND_IRQ] = 5;
    one.of_cpu[1].packets = {3, 4};
    reading.vms.push_back(one);
  };
  vm("/vm/a", 1, 200);
  vm("/vm/b", 9, 50);
  vm("/", 0, 30);
  vm("/vm/gone", 4, 20);
  reading.vms.back().vm.gone = true;
  top::add_bill(reading, sample);

  REQUIRE(sample.vms.size() == 4);
  CHECK(std::is_sorted(sample.vms.begin(), sample.vms.end(), [](const auto& a, const auto& b) { return a.path < b.path; }));
  CHECK(sample.vms[0].path == "/vm/a");
  CHECK(sample.vms[0].name == "guest");
  CHECK(sample.vms[0].period_us == 100000);
  CHECK(sample.vms[0].values.get(Counter::bill_guest) == 200U);
  CHECK(sample.vms[0].values.get(Counter::bill_irq) == 5U);
  CHECK(sample.vms[0].values.get(Counter::bill_tx) == 4U);
  CHECK(sample.vms[1].id == 9);
  CHECK_FALSE(sample.vms[2].values.get(Counter::bill_guest));
  CHECK(sample.vms[3].path == "pid 7");
  CHECK(sample.vms[3].id == 70);
  CHECK_FALSE(sample.cpus[0].values.get(CpuCounter::bill_elapsed));
  CHECK(sample.cpus[1].values.get(CpuCounter::bill_vms) == 400U);  // those that are gone, too
  CHECK(sample.cpus[1].values.get(CpuCounter::bill_idle) == 400U);
  CHECK(sample.metered);
}
