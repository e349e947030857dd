/* SPDX-License-Identifier: GPL-2.0 */
/*
 * host_tell.bpf.h - idle CPUs are told of the host's tasks that wait elsewhere and may run there (CBS-9).
 */
#ifndef SPARE_HOST_TELL_BPF_H
#define SPARE_HOST_TELL_BPF_H

#include "spare.bpf.h"
#include <sched_spare/cbs.h>
#include "kfuncs.bpf.h"
#include "compat.bpf.h"
#include "host_cpu.bpf.h"
#include "cpu.bpf.h"
#include "task.bpf.h"
#include "host_limit.bpf.h"

/* CPU `cpu`, which is idle, looks in the queue of CPU `at`. */
static __always_inline bool kick_idle(s32 cpu, s32 at)
{
	struct cpu_ctx *c = cpu < 0 ? NULL : cpu_ctx(cpu);

	if (!c)
		return false;
	c->host.asked = at + 1;
	if (cpus_end <= (u32)at)
		cpus_end = at + 1;
	spare_kick(cpu);
	return true;
}

/* One that may run p does. Returns whether there is one. */
static __always_inline bool kick_idle_for(struct task_struct *p, s32 at)
{
	return kick_idle(scx_bpf_pick_idle_cpu(p->cpus_ptr, 0), at);
}

/* Those of the first in the parking queue who have a turn again and may run elsewhere do so, on idle CPUs. (The others wait until the host has one here.) */
__noinline int host_unpark_idle(struct host_cpu *h __arg_nonnull, s32 cpu, u64 now)
{
	struct task_struct *p;
	struct task_ctx *t;
	u32 limit;
	s32 idle;

	h->park_idle_ns = now + SPARE_PARK_REST_NS;
	h->scan = 0;
	bpf_for_each(scx_dsq, p, park_dsq(cpu), 0) {
		if (h->scan++ >= SPARE_PASS_SCAN)
			break;
		if (p->nr_cpus_allowed == 1 || task_pinned(p))
			continue;
		limit = task_limit(p);
		t = limit ? task_ctx(p) : NULL;
		if (!t)
			continue;	/* the host has no limit for it now: at its next look */
		t->grant_ns = task_take(p, limit, now);
		t->grant_of = limit;
		if (!t->grant_ns)
			continue;
		idle = scx_bpf_pick_idle_cpu(p->cpus_ptr, 0);
		if (idle >= 0 && scx_bpf_dsq_move_vtime(BPF_FOR_EACH_ITER, p, host_dsq(cpu), 0)) {
			/* (Of those at the place to which a circle has come one less has stayed.) */
			if (h->park_goes && h->park_same && p->scx.dsq_vtime == h->park_at)
				h->park_same--;
			h->queued = 1;
		} else {
			limit_return(t);
		}
		kick_idle(idle, cpu);
	}
	return 0;
}

/* At each tick: whoever was told of a task when it was queued may have looked before the kernel had inserted it, or found other work. */
static __always_inline void host_tell_idle(struct host_cpu *h, s32 cpu)
{
	struct task_struct *p;
	u32 most;

	if (!h->queued || !idle_cpus)
		return;
	most = look_most(&h->look_ns);
	h->scan = 0;
	bpf_for_each(scx_dsq, p, host_dsq(cpu), 0)
		if (kick_idle_for(p, cpu) || ++h->scan >= most)
			break;
}

#endif
