// SPDX-License-Identifier: GPL-2.0-only
#pragma once

#include <vector>

#include "cpu_list.hpp"
#include "paths.hpp"
#include "util/result.hpp"

namespace spare {

struct HostCpu {
  unsigned id = 0;
  unsigned core = 0;  // the lowest CPU among its SMT siblings
  unsigned node = 0;  // NUMA node
};

// The CPUs that are online, by number.
Result<Cpus> online_cpus(const Roots& roots);
// Likewise, with what is known of each. What the kernel does not say of a CPU is assumed simple: a core of its own, node 0.
Result<std::vector<HostCpu>> read_host_cpus(const Roots& roots);
Cpus ids_of(const std::vector<HostCpu>& cpus);

}  // namespace spare
