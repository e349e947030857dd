// SPDX-License-Identifier: GPL-2.0-only
//
// Pools in two samples: the providers below one cgroup together.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "top/interval.hpp"

namespace sparectl::top {

struct PoolPair {
  std::string path;
  std::uint64_t runtime_us = 0, period_us = 0;  // of each spare; 0: they differ
  unsigned providers = 0, servers = 0, free = 0, members = 0;
  std::vector<std::uint32_t> cpus;      // with spares
  unsigned most_on_a_cpu = 0;           // spares
  double bandwidth = 0;                 // CPUs, of all servers together
  double seconds = 0;
  std::optional<double> lent_ns, granted, blocked, denied;

  // Share of its bandwidth that was lent, 0 to 1.
  [[nodiscard]] std::optional<double> lent_share() const;
  // The share of claims that find each spare of a CPU taken, by Erlang's formula from what was lent (Erlang, 1917); 0 to 1.
  [[nodiscard]] std::optional<double> expected_blocking() const;
  // What was seen of it.
  [[nodiscard]] std::optional<double> seen_blocking() const;
  // Spares on each CPU with which Erlang's formula gives at most `target`. Nothing: not known, or more than 64.
  [[nodiscard]] std::optional<unsigned> size_for(double target) const;

 private:
  [[nodiscard]] std::optional<double> erlangs() const;
};

std::vector<PoolPair> pools_in(const Interval& interval);
// Whether a VM may borrow from it.
bool uses(const VmSample& vm, const PoolPair& pool);

}  // namespace sparectl::top
