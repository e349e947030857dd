// SPDX-License-Identifier: GPL-2.0-only
#pragma once

#include <vector>

#include "counters.hpp"
#include "meter.hpp"

namespace spare {

// The counters of these VMs, now. Epoch and missing are left to the caller.
Reading take_reading(const Roots& roots, const Counters& counters, std::vector<BilledVm> vms);

}  // namespace spare
