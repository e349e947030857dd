// SPDX-License-Identifier: GPL-2.0-only
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "settings.hpp"

namespace spare {

// Providers below one cgroup, and what became of the packets of those that use it.
struct Pool {
  std::string path;
  std::vector<std::string> providers;
  std::string reservation;  // of each spare; "various"
  std::uint64_t servers = 0;  // on all CPUs together
  std::uint64_t free = 0;     // of these, not lent now
  std::uint64_t lent_ns = 0;
  std::uint64_t members = 0;  // cgroups with the pool, or one of its providers, in spare.use
  std::uint64_t granted = 0;  // loans
  std::uint64_t blocked = 0;  // packets that found every spare taken
  std::uint64_t denied = 0;   // packets of the members that no spare served
};

// The pools among what these cgroups' files say.
std::vector<Pool> pools_of(const std::vector<Vm>& vms);

}  // namespace spare
