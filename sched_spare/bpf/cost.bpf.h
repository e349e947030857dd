/* SPDX-License-Identifier: GPL-2.0 */
/*
 * cost.bpf.h - what VMs have cost outside their threads so far (DEBT-1): the one map that the meter and the class share.
 *
 * The meter adds, the class reads at replenishment; user space makes an entry for each VM that is metered, and has both use the same map, which is
 * pinned (userspace/lib/costs.cpp). Either may be missing, come later, or be exchanged: an entry only grows.
 */
#ifndef SPARE_COST_BPF_H
#define SPARE_COST_BPF_H

#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

#define SPARE_COSTS 2048	/* VMs (SPARE_METER_VMS), and those that come while others go */

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, SPARE_COSTS);
	__type(key, u64);	/* id of the cgroup whose reservation pays */
	__type(value, u64);	/* ns of CPU */
} costs SEC(".maps");

#endif
