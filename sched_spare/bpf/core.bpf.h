/* SPDX-License-Identifier: GPL-2.0 */
/*
 * core.bpf.h - core scheduling (CONFIG_SCHED_CORE, prctl(PR_SCHED_CORE)): siblings of a core run threads of one cookie at a time, or idle.
 *
 * A CPU picks for its siblings, under the run-queue lock that they share, and calls ops.dispatch for each; what that arms is the sibling's timer
 * (kmod/timer.c). Of the threads that the siblings would run the first in the order below decides the cookie: what goes before the servers, the
 * servers by deadline (EDF over the core), the rest. A sibling without a thread of that cookie idles.
 *
 * Admission knows nothing of cookies: VMs that exclude each other share the core's time, and what is promised beyond that is missed (`misses`).
 * On a sibling the kernel may run any thread of the cookie, without dispatch, one of a THROTTLED server, too; it is charged as any other, so
 * that its VM has its reservation in the long run, and later waits for as long.
 */
#ifndef SPARE_CORE_BPF_H
#define SPARE_CORE_BPF_H

#include "spare.bpf.h"
#include <sched_spare/abi.h>
#include <sched_spare/cbs.h>
#include <sched_spare/edf.h>
#include <sched_spare/pool.h>
#include "kfuncs.bpf.h"
#include "cpu.bpf.h"
#include "task.bpf.h"
#include "host_kthread.bpf.h"

enum core_rank {
	CORE_FIRST,	/* pinned kernel threads within their bound, the host's floor */
	CORE_SERVER,
	CORE_REST,
};

struct core_order {
	u64 deadline_ns;
	u32 rank;
};

static __always_inline void core_server(struct core_order *o, u64 deadline_ns)
{
	if (o->rank != CORE_SERVER || spare_before(deadline_ns, o->deadline_ns))
		o->deadline_ns = deadline_ns;
	o->rank = CORE_SERVER;
}

/*
 * Where p stands, for its CPU: what is in the kernel's local queue keeps dispatch away, so it stands for a server that is ready there, or due, with a nearer
 * deadline, too. It wins for a moment then, in which the timer fires, and dispatch decides.
 */
__noinline int core_place(struct task_struct *p __arg_trusted, struct core_order *o __arg_nonnull)
{
	s32 cpu = task_cpu(p);
	struct cpu_ctx *c = cpu_ctx(cpu);
	u32 slot = spare_task_slot(p, cpu), payer;
	struct spare_server *s;
	u64 key;

	o->rank = CORE_REST;
	if (!c)
		return 0;
	if (slot == SPARE_NO_SLOT && (is_percpu_kthread(p) ? !c->host.kthread_wait : c->host.floor_end_ns && !task_vm(p))) {
		o->rank = CORE_FIRST;
		return 0;
	}
	s = slot == SPARE_NO_SLOT ? NULL : server(cpu, slot);
	if (s) {
		payer = c->cur == slot ? c->by : c->pick == slot ? c->pick_by : is_ready(c, slot) ? slot : s->lender;
		s = is_ready(c, payer) ? server(cpu, payer) : NULL;
	}
	if (s)
		core_server(o, spare_deadline(&s->far, &s->cbs));
	if (spare_edf_top(&c->ready, &key) != SPARE_NO_SLOT)
		core_server(o, key);
	slot = spare_edf_top(&c->throttled, &key);
	s = slot == SPARE_NO_SLOT || spare_before(bpf_ktime_get_ns(), key) ? NULL : server(cpu, slot);
	if (s)
		core_server(o, key + s->cbs.period_ns);
	return 0;
}

/* Among those of which no server decides, whoever has waited longer. */
static __always_inline bool core_before(struct task_struct *a, struct task_struct *b)
{
	struct core_order oa = {}, ob = {};

	core_place(a, &oa);
	core_place(b, &ob);
	if (oa.rank != ob.rank)
		return oa.rank < ob.rank;
	if (oa.rank == CORE_SERVER)
		return spare_before(oa.deadline_ns, ob.deadline_ns);
	if (a->on_cpu != b->on_cpu)
		return !a->on_cpu;
	return spare_before(a->scx.runnable_at, b->scx.runnable_at);
}

#endif
