// SPDX-License-Identifier: GPL-2.0-only
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "util/result.hpp"

struct spare_meter_cpu;
struct spare_meter_row;

namespace spare {

inline constexpr size_t bill_kinds = 9;  // SPARE_KINDS

// What a VM or the host (slot 0) has had of a CPU, in all.
struct BillRow {
  std::array<std::uint64_t, bill_kinds> ns{};
  std::array<std::uint32_t, 2> packets{};  // to it, from it, in softirq; they wrap
};

struct CpuReading {
  bool steady = false;           // nothing changed while it was read: rows add up to elapsed_ns exactly
  std::uint64_t elapsed_ns = 0;  // since the CPU was first seen; 0: not yet
  std::vector<BillRow> rows;     // of the slots asked for, in their order
};

// The meter's maps, mapped. Reading disturbs nobody.
class Counters {
 public:
  static Result<Counters> open(int cpus_map, int rows_map, unsigned cpus);

  // How it stands now: also what runs at this moment is in it.
  [[nodiscard]] CpuReading read(unsigned cpu, const std::vector<std::uint32_t>& slots) const;
  // Of one slot, as the last event left it.
  [[nodiscard]] BillRow row(unsigned cpu, std::uint32_t slot) const;
  // Bytes of memory that one VM takes.
  [[nodiscard]] size_t bytes_of_vm() const;

 private:
  class Mapping {
   public:
    Mapping() = default;
    Mapping(void* at, size_t size) : at_(at), size_(size) {}
    Mapping(Mapping&& other) noexcept;
    Mapping& operator=(Mapping&& other) noexcept;
    Mapping(const Mapping&) = delete;
    Mapping& operator=(const Mapping&) = delete;
    ~Mapping();
    [[nodiscard]] void* at() const { return at_; }

   private:
    void* at_ = nullptr;
    size_t size_ = 0;
  };
  Counters(Mapping cpus, Mapping rows, unsigned n) : cpus_(std::move(cpus)), rows_(std::move(rows)), count_(n) {}
  static Result<Mapping> map(int fd, size_t size);
  [[nodiscard]] bool try_read(unsigned cpu, const std::vector<std::uint32_t>& slots, CpuReading& reading) const;

  Mapping cpus_, rows_;
  unsigned count_;
};

}  // namespace spare
