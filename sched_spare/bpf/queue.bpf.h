/* SPDX-License-Identifier: GPL-2.0 */
/*
 * queue.bpf.h - a stock of queues for servers.
 *
 * A queue (DSQ) can be made only where a callback may sleep, and a server is born under a run-queue lock. So a stock is made
 * when the class is loaded and whenever somebody forks, as large as the module says, which publishes no server without one (CBS-12): it
 * forks itself when a write needs more. A server takes one, and gives it back when it goes. One for every possible server
 * would cost memory with the square of the number of CPUs: the kernel keeps some bytes per CPU for each.
 */
#ifndef SPARE_QUEUE_BPF_H
#define SPARE_QUEUE_BPF_H

#include "spare.bpf.h"
#include <sched_spare/abi.h>
#include "kfuncs.bpf.h"

struct {
	__uint(type, BPF_MAP_TYPE_STACK);
	__uint(max_entries, 4096);	/* user space sets it to SPARE_SLOTS times the number of possible CPUs */
	__type(value, u64);
} queue_stock SEC(".maps");

/* User space sets it, too. */
const volatile u32 queues_max = 4096;

CLASS_VAR u32 queue_ids;		/* numbers given to queues, also to those that could not be made */
CLASS_VAR u32 queues_made;
CLASS_VAR s64 queues_free;

/* The next free queue; 0: none just now (the lock of the stock is taken, or one was lost and is yet to be replaced). */
static __always_inline u64 queue_take(void)
{
	u64 id = 0;
	long err = bpf_map_pop_elem(&queue_stock, &id);

	if (err == -ENOENT && queues_made >= spare_queues_wanted())
		class_error("no queue is left for a server: %u were made, %u are wanted", queues_made, spare_queues_wanted());
	if (err)
		return 0;
	__sync_fetch_and_add(&queues_free, -1);
	return id;
}

/* An empty queue comes back. One that cannot, as the lock is taken, is replaced by another. */
static __always_inline void queue_give(u64 id)
{
	if (!id)
		return;
	if (bpf_map_push_elem(&queue_stock, &id, 0))
		__sync_fetch_and_add(&queues_made, -1);
	else
		__sync_fetch_and_add(&queues_free, 1);
}

/* Sleepable. Returns 0 or what the kernel said. */
static __always_inline int queues_fill(void)
{
	u32 n, most = SPARE_SLOTS * SPARE_CPUS_MAX;
	int i, err = 0;

	bpf_for(i, 0, most) {
		if (queues_made >= spare_queues_wanted() || queues_made >= queues_max)
			break;
		n = __sync_fetch_and_add(&queue_ids, 1);
		err = scx_bpf_create_dsq(SPARE_DSQ_SERVER | n, -1);
		if (err)
			break;
		__sync_fetch_and_add(&queues_made, 1);
		queue_give(SPARE_DSQ_SERVER | n);
	}
	spare_queues_made(queues_made);
	return err;
}

#endif
