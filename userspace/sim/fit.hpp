// SPDX-License-Identifier: GPL-2.0-only
//
// Does a set of VMs fit a host (CBS-6)? As spared places them (lib/placement.hpp), the largest first; each VM has a server on as
// many CPUs as it has vCPUs. Every CPU may carry a pool of its own.
#pragma once

#include <cstdint>
#include <vector>

#include "cpu_list.hpp"
#include "duration.hpp"
#include "host_cpus.hpp"

namespace spare::sim {

struct FitVm {
  Reservation reservation;
  unsigned vcpus = 1;
};

struct FitHost {
  std::vector<HostCpu> cpus;
  std::uint32_t limit_ppm = 900000;  // of each CPU
  std::uint32_t taken_ppm = 0;       // of each CPU beforehand: its pool
};

struct Fit {
  std::vector<Cpus> cpus;               // of each VM, as given; empty: it did not fit
  std::vector<std::uint32_t> used_ppm;  // of each of the host's CPUs, as given, with the pool
  std::vector<unsigned> servers;        // on each

  [[nodiscard]] bool all() const;
};

Fit fit(const std::vector<FitVm>& vms, const FitHost& host);

// CPUs 0 to n-1, each a core of its own, on one node.
std::vector<HostCpu> plain_cpus(unsigned n);

}  // namespace spare::sim
