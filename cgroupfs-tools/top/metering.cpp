// SPDX-License-Identifier: GPL-2.0-only
#include "top/metering.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "meter/kinds.hpp"
#include "util/files.hpp"

namespace sparectl::top {
namespace {

constexpr auto first_kind = static_cast<std::size_t>(Counter::bill_guest);
static_assert(static_cast<std::size_t>(Counter::bill_irq) - first_kind + 1 == SPARE_KINDS);

std::uint64_t sum_of(const spare::BillRow& row) {
  std::uint64_t sum = 0;
  for (const std::uint64_t ns : row.ns) {
    sum += ns;
  }
  return sum;
}

// Its path and id in samples.
std::pair<std::string, std::uint64_t> key_of(const spare::BilledVm& vm) {
  if (vm.whole_cgroup() || vm.processes.empty()) {
    return {spare::printable(vm.cgroup), vm.cgroup_id};
  }
  return {fmt::format("pid {}", vm.processes.front().pid), vm.processes.front().start};
}

void add_vm(const spare::VmReading& reading, Sample& sample) {
  const auto [path, id] = key_of(reading.vm);
  auto at = std::lower_bound(sample.vms.begin(), sample.vms.end(), path, [](const VmSample& vm, const std::string& wanted) { return vm.path < wanted; });
  if (at == sample.vms.end() || at->path != path) {
    VmSample vm;
    vm.path = path;
    vm.id = id;
    at = sample.vms.insert(at, std::move(vm));
  }
  at->name = reading.vm.name;
  for (std::size_t kind = 0; kind < SPARE_KINDS; kind++) {
    std::uint64_t sum = 0;
    for (const spare::BillRow& row : reading.of_cpu) {
      sum += row.ns[kind];
    }
    at->values.set(static_cast<Counter>(first_kind + kind), sum);
  }
  std::uint64_t to = 0, from = 0;
  for (const spare::BillRow& row : reading.of_cpu) {
    to += row.packets[0];
    from += row.packets[1];
  }
  at->values.set(Counter::bill_rx, to);
  at->values.set(Counter::bill_tx, from);
}

void add_cpu(const spare::Reading& reading, std::size_t i, Sample& sample) {
  constexpr std::array kinds = {CpuCounter::bill_task, CpuCounter::bill_network, CpuCounter::bill_idle, CpuCounter::bill_deadline, CpuCounter::bill_realtime, CpuCounter::bill_softirq, CpuCounter::bill_irq};
  static_assert(kinds.size() == SPARE_HOST_KINDS);
  const spare::CpuCounters& of = reading.cpus[i];
  const auto cpu = std::find_if(sample.cpus.begin(), sample.cpus.end(), [&](const CpuSample& one) { return one.cpu == of.cpu; });
  if (cpu == sample.cpus.end() || of.elapsed_ns == 0) {
    return;
  }
  std::uint64_t vms = sum_of(of.gone);
  for (const spare::VmReading& vm : reading.vms) {
    vms += i < vm.of_cpu.size() ? sum_of(vm.of_cpu[i]) : 0;
  }
  cpu->values.set(CpuCounter::bill_elapsed, of.elapsed_ns);
  cpu->values.set(CpuCounter::bill_vms, vms);
  for (std::size_t kind = 0; kind < kinds.size(); kind++) {
    cpu->values.set(kinds[kind], of.host.ns[kind]);
  }
}

}  // namespace

void add_bill(const spare::Reading& reading, Sample& sample) {
  sample.metered = true;
  for (const spare::MissingPart& part : reading.missing) {
    sample.missing.push_back(part.part);
  }
  for (const spare::VmReading& vm : reading.vms) {
    if (!vm.vm.gone) {
      add_vm(vm, sample);
    }
  }
  for (std::size_t i = 0; i < reading.cpus.size(); i++) {
    add_cpu(reading, i, sample);
  }
}

}  // namespace sparectl::top
