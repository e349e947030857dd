// SPDX-License-Identifier: GPL-2.0-only
#include "bill.hpp"

#include <algorithm>
#include <map>
#include <numeric>

#include "kinds.hpp"

namespace spare {
namespace {

// What a reading has of a CPU: nothing, before that CPU was seen.
struct Column {
  const CpuCounters* cpu = nullptr;
  size_t at = 0;
};

Column column(const Reading& reading, unsigned cpu) {
  const auto found = std::find_if(reading.cpus.begin(), reading.cpus.end(), [&](const CpuCounters& one) { return one.cpu == cpu; });
  return found == reading.cpus.end() ? Column() : Column{&*found, static_cast<size_t>(found - reading.cpus.begin())};
}

BillRow row(const VmReading* vm, const Column& at) { return vm == nullptr || at.cpu == nullptr ? BillRow() : vm->of_cpu[at.at]; }

}  // namespace

void add(BillRow& to, const BillRow& what) {
  std::transform(to.ns.begin(), to.ns.end(), what.ns.begin(), to.ns.begin(), std::plus<>());
  std::transform(to.packets.begin(), to.packets.end(), what.packets.begin(), to.packets.begin(), std::plus<>());
  std::transform(to.batches.begin(), to.batches.end(), what.batches.begin(), to.batches.begin(), std::plus<>());
}

std::uint64_t network_ns(const BillRow& vm) { return vm.ns[SPARE_KIND_VHOST] + vm.ns[SPARE_KIND_RX] + vm.ns[SPARE_KIND_TX]; }

std::uint64_t total(const BillRow& row) { return std::accumulate(row.ns.begin(), row.ns.end(), std::uint64_t{0}); }

BillRow since(const BillRow& before, const BillRow& now) {
  BillRow had = now;
  std::transform(had.ns.begin(), had.ns.end(), before.ns.begin(), had.ns.begin(), std::minus<>());
  std::transform(had.packets.begin(), had.packets.end(), before.packets.begin(), had.packets.begin(), std::minus<>());
  std::transform(had.batches.begin(), had.batches.end(), before.batches.begin(), had.batches.begin(), std::minus<>());
  return had;
}

std::int64_t CpuBill::error_ns() const { return static_cast<std::int64_t>(total(host) + vms_ns) - static_cast<std::int64_t>(elapsed_ns); }

Bill between(const Reading& earlier, const Reading& now) {
  static const Reading nothing;
  const Reading& before = earlier.epoch == now.epoch ? earlier : nothing;
  std::map<std::uint64_t, const VmReading*> had;
  for (const VmReading& vm : before.vms) {
    had[vm.vm.id] = &vm;
  }
  Bill bill{now.epoch, now.time_ns, now.monotonic_ns - before.monotonic_ns, {}, {}, {}};
  auto left = had;
  for (const VmReading& vm : now.vms) {
    bill.vms.push_back({vm.vm, {}, {}});
    left.erase(vm.vm.id);
  }
  for (size_t at = 0; at < now.cpus.size(); at++) {
    const CpuCounters& cpu = now.cpus[at];
    const Column then = column(before, cpu.cpu);
    CpuBill of{cpu.cpu, cpu.steady, cpu.elapsed_ns - (then.cpu != nullptr ? then.cpu->elapsed_ns : 0), 0, since(then.cpu != nullptr ? then.cpu->host : BillRow(), cpu.host)};
    BillRow gone = since(then.cpu != nullptr ? then.cpu->gone : BillRow(), cpu.gone);
    for (const auto& [id, vm] : left) {
      gone = since(row(vm, then), gone);
    }
    of.vms_ns = total(gone);
    add(bill.gone, gone);
    for (size_t i = 0; i < now.vms.size(); i++) {
      const auto known = had.find(now.vms[i].vm.id);
      const BillRow took = since(row(known == had.end() ? nullptr : known->second, then), now.vms[i].of_cpu[at]);
      of.vms_ns += total(took);
      add(bill.vms[i].sum, took);
      if (cpu.online) {
        bill.vms[i].of_cpu_ns.push_back(total(took));
      }
    }
    if (cpu.online) {
      bill.cpus.push_back(of);
    }
  }
  return bill;
}

}  // namespace spare
