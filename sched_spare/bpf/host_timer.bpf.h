/* SPDX-License-Identifier: GPL-2.0 */
/* host_timer.bpf.h - when a CPU's timer has to fire while no server runs: what is due, and what the host task that runs may (CBS-4, CBS-9). */
#ifndef SPARE_HOST_TIMER_BPF_H
#define SPARE_HOST_TIMER_BPF_H

#include "spare.bpf.h"
#include <sched_spare/abi.h>
#include <sched_spare/cbs.h>
#include <sched_spare/edf.h>
#include "kfuncs.bpf.h"
#include "host_cpu.bpf.h"
#include "cpu.bpf.h"
#include "host_limit.bpf.h"

/* The earlier of two times; 0: never. */
static __always_inline u64 earlier(u64 a, u64 b)
{
	return b && (!a || spare_before(b, a)) ? b : a;
}

/* While no server runs this CPU's timer fires for who is parked, too, and when what cpu.max has granted ends. when: next_replenishment(). */
static __always_inline u64 host_event(struct host_cpu *h, u64 when)
{
	when = earlier(earlier(when, h->park_ns), h->grant_end_ns);
	h->armed = when != 0;
	return when;
}

/* 0: nothing is throttled, nor withdrawn, and neither a kernel thread waits nor a worker for its limit. */
static __always_inline u64 next_replenishment(struct cpu_ctx *c)
{
	u64 key = 0;

	spare_edf_top(&c->throttled, &key);
	if (!c->host.servers)
		return key;
	if (c->host.kthreads)
		key = earlier(key, c->host.kthread_due_ns);
	return earlier(earlier(key, c->again_ns), c->guard_ns);
}

/*
 * When the grant of the host task that runs ends, if it may leave the kernel first (spare_timer_arm); 0: it may not. What the valve gives is shorter
 * than that, and calibrated; and at `due`, when a server is next, nobody waits.
 */
static __always_inline u64 host_leaves(const struct host_cpu *h, u64 due)
{
	u64 end = h->grant_end_ns;

	if (!h->limit || h->floor_end_ns || h->grant_ns < SPARE_GRANT_MIN_NS || (due && spare_before(due, end + SPARE_LEAVE_NS)))
		return 0;
	return end;
}

__noinline int arm_next(struct cpu_ctx *c __arg_nonnull, s32 cpu)
{
	u64 due = next_replenishment(c);

	spare_timer_arm(cpu, host_event(&c->host, due), host_leaves(&c->host, due));
	return 0;
}

/*
 * The same while a pinned kernel thread runs: who is parked waits for that, too, and armed for a time that has passed, the timer would leave it no
 * time to run.
 */
static __always_inline u64 kthread_event(struct cpu_ctx *c, u64 when)
{
	when = earlier(when, c->host.grant_end_ns);
	c->host.armed = when != 0;
	return when;
}

/* While no server runs. */
static __always_inline u64 gap_event(struct cpu_ctx *c, u64 when)
{
	return c->host.kthread_runs ? kthread_event(c, when) : host_event(&c->host, when);
}

#endif
