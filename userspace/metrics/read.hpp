// SPDX-License-Identifier: GPL-2.0-only
#pragma once

#include "cpu_list.hpp"
#include "ledger.hpp"
#include "metrics/snapshot.hpp"
#include "paths.hpp"

namespace spare {

// The state of this host without what the daemon and libvirt know. Of the cgroups that the ledger has, with a reservation, spare.stat alone is read: that is
// most of what it costs, and it waits for nobody.
Snapshot read_snapshot(const Roots& roots, const CgroupTree& tree, const Ledger& ledger, const Cpus& online);

}  // namespace spare
