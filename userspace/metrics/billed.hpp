// SPDX-License-Identifier: GPL-2.0-only
#pragma once

#include "meter/meter.hpp"
#include "metrics/snapshot.hpp"

namespace spare {

// Puts what the meter has billed to VMs so far with them. Those that it has not found yet stay as they are.
void add_billed(std::vector<MeasuredVm>& vms, const Reading& reading);

}  // namespace spare
