/* SPDX-License-Identifier: GPL-2.0 */
/* meter.bpf.h - a CPU's bill: where it lies, and by which clock (meter.bpf.c). */
#ifndef SPARE_METER_BPF_H
#define SPARE_METER_BPF_H

#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <sched_spare/abi.h>
#include <sched_spare/bill.h>
#include <sched_spare/meter.h>
#include "cost.bpf.h"

struct spare_meter_shared meter = { .gen = 1 };

/* Set at load: reservations pay for what is billed here (DEBT-1). For a meter that charges nobody the verifier leaves all of that out. */
const volatile bool charges;

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);		/* set at load: possible CPUs */
	__type(key, u32);
	__type(value, struct spare_meter_cpu);
} cpus SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, SPARE_METER_VMS);	/* set at load: times possible CPUs */
	__type(key, u32);
	__type(value, struct spare_meter_row);
} rows SEC(".maps");

/* Whose reservation pays for what a VM costs in softirqs: the id of that cgroup (user space); 0: nobody's. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, SPARE_METER_VMS);
	__type(key, u32);
	__type(value, u64);
} payers SEC(".maps");

/* What a softirq took for its packets. Threads in the VM's cgroup pay themselves, where there is a class; of others only a name says whose they are. */
static __noinline void cost(u32 vm, u64 ns)
{
	u64 *payer = bpf_map_lookup_elem(&payers, &vm), *sum, id;

	if (!payer)
		return;
	id = *payer;
	sum = id ? bpf_map_lookup_elem(&costs, &id) : NULL;
	if (sum)
		__sync_fetch_and_add(sum, ns);
}

static __always_inline struct spare_meter_cpu *me(void)
{
	u32 cpu = bpf_get_smp_processor_id();

	return bpf_map_lookup_elem(&cpus, &cpu);
}

static __always_inline void spare_bill_add(struct spare_bill *b, u32 account, u64 ns, u32 packets)
{
	struct spare_meter_cpu *c = container_of(b, struct spare_meter_cpu, bill);
	u32 at = c->rows + spare_account_vm(account), kind = spare_account_kind(account);
	struct spare_meter_row *row = bpf_map_lookup_elem(&rows, &at);

	if (!row || kind >= SPARE_KINDS)
		return;
	row->ns[kind] += ns;
	if (packets) {
		row->packets[kind == SPARE_KIND_TX] += packets;
		row->batches[0]++;
		if (charges)
			cost(spare_account_vm(account), ns);
	} else if (kind == SPARE_KIND_VHOST) {
		row->batches[1]++;
	}
}

/* The clock that stands still in hard interrupts. One of these may come between the two readings. */
static __always_inline u64 now_of(struct spare_bill *b)
{
	u64 irqs, now;
	int i;

	for (i = 0; i < 4; i++) {
		irqs = *(volatile u64 *)&b->irq_total_ns;
		now = bpf_ktime_get_ns();
		if (irqs == *(volatile u64 *)&b->irq_total_ns)
			break;
	}
	return spare_bill_time(irqs, now);
}

#endif
