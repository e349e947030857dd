// SPDX-License-Identifier: GPL-2.0-only
//
// Of what a BillRow consists (enum spare_kind and spare_host_kind in sched_spare/bill.h), and how that is called wherever it is written.
#pragma once

#include <array>

#include "sched_spare/abi.h"
#define SPARE_METER_READER
#include "sched_spare/meter.h"

namespace spare {

inline constexpr std::array<const char*, SPARE_KINDS> kind_names = {"guest", "vcpu", "vhost", "iothread", "emulator", "kthread", "softirq_rx", "softirq_tx", "irq"};
inline constexpr std::array<const char*, SPARE_HOST_KINDS> host_kind_names = {"task", "network", "idle", "deadline", "realtime", "softirq", "irq"};

}  // namespace spare
