/* SPDX-License-Identifier: GPL-2.0 */
/*
 * queue.bpf.h - a stock of queues for servers.
 *
 * A queue (DSQ) can be made only where a callback may sleep, and a server is born under a run-queue lock. So a stock is made
 * when the class is loaded and filled up whenever the host forks; a server takes one, and gives it back when it goes. One for
 * every possible server would cost memory with the square of the number of CPUs: the kernel keeps some bytes per CPU for each.
 */
#ifndef SPARE_QUEUE_BPF_H
#define SPARE_QUEUE_BPF_H

struct {
	__uint(type, BPF_MAP_TYPE_STACK);
	__uint(max_entries, 4096);	/* user space sets it to SPARE_SLOTS times the number of possible CPUs */
	__type(value, u64);
} queue_stock SEC(".maps");

/* Queues in the stock below which it is filled up: one VM on all CPUs, and some. User space sets the number of CPUs. */
const volatile u32 queue_low = 64;
const volatile u64 queues_max = 4096;

s64 queues_free;
u64 queues_made;

/* The next free queue; 0: none just now. */
static __always_inline u64 queue_take(void)
{
	u64 id = 0;

	if (bpf_map_pop_elem(&queue_stock, &id))
		return 0;
	__sync_fetch_and_add(&queues_free, -1);
	return id;
}

/* An empty queue comes back. */
static __always_inline void queue_give(u64 id)
{
	if (id && !bpf_map_push_elem(&queue_stock, &id, 0))
		__sync_fetch_and_add(&queues_free, 1);
}

/* Sleepable. Returns 0 or what the kernel said. */
static __always_inline int queues_fill(void)
{
	u64 n;
	int i, err;

	bpf_for(i, 0, SPARE_CPUS_MAX + 64) {
		if (queues_free >= queue_low || queues_made >= queues_max)
			break;
		n = __sync_fetch_and_add(&queues_made, 1);
		err = scx_bpf_create_dsq(SPARE_DSQ_SERVER | n, -1);
		if (err)
			return err;
		queue_give(SPARE_DSQ_SERVER | n);
	}
	return 0;
}

#endif
