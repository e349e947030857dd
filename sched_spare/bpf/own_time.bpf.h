/* SPDX-License-Identifier: GPL-2.0 */
/* own_time.bpf.h - of what has passed on a CPU, the part that was its thread's (ACC-2). */
#ifndef SPARE_OWN_TIME_BPF_H
#define SPARE_OWN_TIME_BPF_H

#include "cpu_ctx.bpf.h"
#include "kfuncs.bpf.h"

/* Of the time since a CPU's stamp: without what softirqs on top of the thread, and real-time threads, have had of it (ACC-2). */
static __always_inline u64 own_time(const struct cpu_ctx *c, u64 delta, u64 above)
{
	u64 others = above - *(volatile u64 *)&c->above_ns;

	return others < delta ? delta - others : 0;
}

/* That, up to now; from now on another stamp counts. */
static __always_inline u64 own_time_since(struct cpu_ctx *c, s32 cpu, u64 now)
{
	u64 above = spare_above_ns(cpu, now), own = own_time(c, now - c->stamp_ns, above);

	c->stamp_ns = now;
	c->above_ns = above;
	return own;
}

/*
 * The same within a switch, where interrupts have been off since the last reading, or as good as that: no softirq worth reading of fits into so short a
 * time, and what one took is seen by the next reading.
 */
#define SPARE_MOMENT_NS 2000

static __always_inline u64 own_time_switching(struct cpu_ctx *c, s32 cpu, u64 now)
{
	u64 passed = now - c->stamp_ns;

	if (passed >= SPARE_MOMENT_NS)
		return own_time_since(c, cpu, now);
	c->stamp_ns = now;
	return passed;
}

#endif
