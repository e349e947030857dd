// SPDX-License-Identifier: GPL-2.0-only
//
// Does a set of VMs fit a host (CBS-6)? Worst fit by utilization, the largest first; each VM has a server on as many CPUs as
// it has vCPUs. Every CPU may carry a pool of its own.
#pragma once

#include <cstdint>
#include <vector>

#include "duration.hpp"

namespace spare::sim {

struct FitVm {
  Reservation reservation;
  unsigned vcpus = 1;
};

struct FitHost {
  unsigned cpus = 1;
  std::uint32_t limit_ppm = 900000;  // of each CPU
  std::uint32_t taken_ppm = 0;       // of each CPU beforehand: its pool
};

struct Fit {
  std::vector<std::vector<unsigned>> cpus;  // of each VM, as given; empty: it did not fit
  std::vector<std::uint32_t> used_ppm;      // of each CPU, with the pool
  std::vector<unsigned> servers;            // on each CPU

  [[nodiscard]] bool all() const;
};

Fit fit(const std::vector<FitVm>& vms, const FitHost& host);

// Q / P in parts per million, rounded up as the module does.
std::uint32_t utilisation_ppm(const Reservation& reservation);

}  // namespace spare::sim
