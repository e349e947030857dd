// SPDX-License-Identifier: GPL-2.0-only
#pragma once

#include <array>
#include <cstdint>
#include <utility>
#include <vector>

#include "mapping.hpp"
#include "util/result.hpp"

struct spare_meter_row;

namespace spare {

inline constexpr size_t bill_kinds = 9;  // SPARE_KINDS

// What a VM or the host (slot 0) has had of a CPU, in all.
struct BillRow {
  std::array<std::uint64_t, bill_kinds> ns{};
  std::array<std::uint64_t, 2> packets{};  // to it, from it, in softirq
  std::array<std::uint32_t, 2> batches{};  // softirqs that had some of these, runs of its vhost workers; they wrap
};

struct CpuReading {
  bool steady = false;           // nothing changed while it was read: rows add up to elapsed_ns exactly
  std::uint64_t elapsed_ns = 0;  // since the CPU was first seen; 0: not yet
  std::vector<BillRow> rows;     // of the slots asked for, in their order
};

// The meter's maps, mapped. Reading disturbs nobody.
class Counters {
 public:
  // writable: for who may retire().
  static Result<Counters> open(int cpus_map, int rows_map, unsigned cpus, bool writable);

  // How it stands now: also what runs at this moment is in it.
  [[nodiscard]] CpuReading read(unsigned cpu, const std::vector<std::uint32_t>& slots) const;
  // Adds what a slot has had to the row of those that are gone, and empties it. False, and nothing done: a CPU works for it still. (Nobody must be told
  // any more that the slot is his.)
  [[nodiscard]] bool retire(std::uint32_t slot) const;
  // Bytes of memory that one VM takes.
  [[nodiscard]] size_t bytes_of_vm() const;
  [[nodiscard]] unsigned cpus() const { return count_; }

 private:
  Counters(Mapping cpus, Mapping rows, unsigned n) : cpus_(std::move(cpus)), rows_(std::move(rows)), count_(n) {}
  [[nodiscard]] spare_meter_row& row(unsigned cpu, std::uint32_t slot) const;
  [[nodiscard]] bool try_read(unsigned cpu, const std::vector<std::uint32_t>& slots, CpuReading& reading) const;

  Mapping cpus_, rows_;
  unsigned count_;
};

}  // namespace spare
