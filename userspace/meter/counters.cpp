// SPDX-License-Identifier: GPL-2.0-only
#include "counters.hpp"

#include <atomic>
#include <ctime>

#include "kinds.hpp"

namespace spare {
namespace {

static_assert(bill_kinds == SPARE_KINDS);
static_assert(sizeof(spare_meter_cpu) % 8 == 0 && sizeof(spare_meter_row) % 8 == 0, "as the kernel lays out the elements of an array");

constexpr int tries = 200;

template <typename T>
T load(const T& value) {
  return __atomic_load_n(&value, __ATOMIC_ACQUIRE);
}

std::uint64_t monotonic_ns() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * 1000000000U + static_cast<std::uint64_t>(now.tv_nsec);
}

BillRow copy(const spare_meter_row& from) {
  BillRow row;
  for (size_t kind = 0; kind < bill_kinds; kind++) {
    row.ns[kind] = load(from.ns[kind]);
  }
  row.packets = {load(from.packets[0]), load(from.packets[1])};
  row.batches = {load(from.batches[0]), load(from.batches[1])};
  return row;
}

void add(CpuReading& reading, const std::vector<std::uint32_t>& slots, std::uint32_t account, std::uint64_t ns) {
  for (size_t i = 0; i < slots.size(); i++) {
    if (slots[i] == spare_account_vm(account)) {
      reading.rows[i].ns[spare_account_kind(account)] += ns;
    }
  }
}

}  // namespace

Result<Counters> Counters::open(int cpus_map, int rows_map, unsigned cpus, bool writable) {
  auto states = Mapping::of(cpus_map, cpus * sizeof(spare_meter_cpu), false);
  auto rows = Mapping::of(rows_map, size_t{cpus} * SPARE_METER_VMS * sizeof(spare_meter_row), writable);
  if (!states || !rows) {
    return states ? rows.error() : states.error();
  }
  return Counters(std::move(*states), std::move(*rows), cpus);
}

spare_meter_row& Counters::row(unsigned cpu, std::uint32_t slot) const { return rows_.as<spare_meter_row>()[size_t{cpu} * SPARE_METER_VMS + slot]; }

size_t Counters::bytes_of_vm() const { return count_ * sizeof(spare_meter_row); }

bool Counters::retire(std::uint32_t slot) const {
  for (unsigned cpu = 0; cpu < count_; cpu++) {
    if (spare_account_vm(load(cpus_.as<const spare_meter_cpu>()[cpu].bill.base)) == slot) {
      return false;
    }
  }
  for (unsigned cpu = 0; cpu < count_; cpu++) {
    spare_meter_row& from = row(cpu, slot);
    spare_meter_row& to = row(cpu, SPARE_METER_GONE);
    for (size_t kind = 0; kind < bill_kinds; kind++) {
      to.ns[kind] += from.ns[kind];
    }
    to.packets[0] += from.packets[0];
    to.packets[1] += from.packets[1];
    to.batches[0] += from.batches[0];
    to.batches[1] += from.batches[1];
    from = {};
  }
  return true;
}

// What begun_ns and done_ns are for: bill.h.
bool Counters::try_read(unsigned cpu, const std::vector<std::uint32_t>& slots, CpuReading& reading) const {
  const spare_meter_cpu& c = cpus_.as<const spare_meter_cpu>()[cpu];
  const spare_bill& b = c.bill;
  const auto done = load(b.done_ns), irqs = load(b.irq_total_ns);
  const bool whole = load(b.begun_ns) == done && load(b.irq_depth) == 0;
  const auto since = load(b.since_ns), left_guest = load(b.exit_ns), batch = load(b.batch_ns) + load(b.beyond_ns), before = load(b.thread_ns);
  const auto base = load(b.base);
  const bool serves = load(b.serves) != 0;
  const auto now = spare_bill_time(irqs, monotonic_ns());
  for (size_t i = 0; i < slots.size(); i++) {
    reading.rows[i] = copy(row(cpu, slots[i]));
  }
  std::atomic_thread_fence(std::memory_order_acquire);
  reading.steady = whole && load(b.begun_ns) == done && load(b.done_ns) == done && load(b.irq_depth) == 0 && load(b.irq_total_ns) == irqs;
  // Whose a packet is that is on its way through a softirq is not known yet.
  reading.elapsed_ns = (serves ? batch : now) + irqs - load(c.started_ns);
  add(reading, slots, base, before);
  if (!serves) {
    const bool left = left_guest != 0 && spare_account_vm(base) != 0 && spare_account_kind(base) == SPARE_KIND_GUEST;
    const auto until = left && static_cast<std::int64_t>(left_guest - since) > 0 ? left_guest : since;
    if (left) {
      add(reading, slots, base, until - since);
      add(reading, slots, spare_account(spare_account_vm(base), SPARE_KIND_VCPU), now - until);
    } else {
      add(reading, slots, base, now - since);
    }
  }
  return reading.steady && !serves;
}

CpuReading Counters::read(unsigned cpu, const std::vector<std::uint32_t>& slots) const {
  CpuReading reading;
  reading.rows.resize(slots.size());
  if (load(cpus_.as<const spare_meter_cpu>()[cpu].started_ns) == 0) {
    return reading;
  }
  for (int i = 0; i < tries && !try_read(cpu, slots, reading); i++) {
  }
  return reading;
}

}  // namespace spare
