// SPDX-License-Identifier: GPL-2.0-only
#pragma once

#include "random.hpp"
#include "system.hpp"
#include "util/result.hpp"

namespace spare::sim {

// The packets of one VM in the order of time. Deterministic by (seed, VM); takes the same memory for any length.
class Arrivals {
 public:
  static constexpr Time never = ~Time{0};

  // traffic must outlive this.
  Arrivals(const Traffic& traffic, std::uint64_t seed, std::uint64_t vm);

  // When the next packets come, and how many at that instant.
  [[nodiscard]] Time next() const { return next_; }
  [[nodiscard]] unsigned count() const { return count_; }
  void pop();

 private:
  void choose();
  void draw_poisson();
  void draw_on_off();

  const Traffic* traffic_;
  Random random_;
  Time poisson_ = never, on_off_ = never, broadcast_ = never;
  Time on_end_ = 0;
  std::size_t recorded_ = 0;
  Time next_ = never;
  unsigned count_ = 0;
};

// Packets recorded by an operator: lines "time_us,vm", time from 0 and not necessarily sorted, vm an index below `vms`. A
// first line that is no number is a heading. At most a hundred million packets.
spare::Result<std::vector<std::vector<Time>>> read_recorded(const std::string& path, std::size_t vms);

}  // namespace spare::sim
