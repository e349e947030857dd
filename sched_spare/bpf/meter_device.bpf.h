/* SPDX-License-Identifier: GPL-2.0 */
/* meter_device.bpf.h - which VM's tap a network device is (meter.bpf.c, 2). */
#ifndef SPARE_METER_DEVICE_BPF_H
#define SPARE_METER_DEVICE_BPF_H

#include "meter.bpf.h"

#define RX_QUEUES	8	/* of a tap, looked at for RPS */

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8 * SPARE_METER_VMS);
	__type(key, struct spare_meter_tap);
	__type(value, u32);
} taps SEC(".maps");

/* A kernel without CONFIG_RPS has no such member (compat.bpf.h says why its reading is a function). */
struct netdev_rx_queue___rps {
	struct rps_map *rps_map;
} __attribute__((preserve_access_index));

static __noinline bool has_rps_map(const struct netdev_rx_queue___rps *queue)
{
	return BPF_CORE_READ(queue, rps_map);
}

/* Does a tap's receiving side (its VM's sending) hand packets to other CPUs? */
static __noinline u32 steers(struct net_device *dev)
{
	const u64 size = bpf_core_type_size(struct netdev_rx_queue);
	u64 queue = (u64)BPF_CORE_READ(dev, _rx);
	u32 n = BPF_CORE_READ(dev, real_num_rx_queues), i;

	if (!bpf_core_field_exists(struct netdev_rx_queue___rps, rps_map))
		return 0;
	for (i = 0; i < RX_QUEUES && i < n; i++) {
		if (has_rps_map((const struct netdev_rx_queue___rps *)(queue + i * size)))
			return 1;
	}
	return 0;
}

/* A device on others (a bridge's own, a VLAN's, a bond): the one below has a packet, too, and says so. */
static __always_inline bool is_upper(const struct net_device *dev)
{
	return (u64)dev->adj_list.lower.next != (u64)&dev->adj_list.lower;
}

/* What is known of a device of that address is true until meter.gen changes. */
static __noinline u32 look_up_device(struct spare_meter_cpu *c, struct net_device *dev)
{
	struct spare_meter_device *known;
	struct spare_meter_tap key = {};
	u64 address;
	u32 *vm;

	/* Through memory: the verifier shifts no pointers. */
	c->last.gen = meter.gen - 1;
	*(volatile u64 *)&c->last.device = (u64)dev;
	address = *(volatile u64 *)&c->last.device;
	known = &c->device[(address >> 12 ^ address >> 18) & (SPARE_METER_DEVICES - 1)];
	if (known->device != address || known->gen != meter.gen) {
		key.ifindex = BPF_CORE_READ(dev, ifindex);
		key.netns = BPF_CORE_READ(dev, nd_net.net, ns.inum);
		known->gen = meter.gen;
		vm = bpf_map_lookup_elem(&taps, &key);
		known->vm = vm && !is_upper(dev) ? *vm : 0;	/* (a macvtap is one for its life) */
		known->device = address;
		if (vm && steers(dev))
			meter.steers = 1;
	}
	c->last = *known;
	return known->vm;
}

/* Mostly it is the last one. */
static __always_inline u32 vm_of_device(struct spare_meter_cpu *c, struct net_device *dev)
{
	if (c->last.device == (u64)dev && c->last.gen == meter.gen)
		return c->last.vm;
	return look_up_device(c, dev);
}

#endif
