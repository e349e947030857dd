/* SPDX-License-Identifier: GPL-2.0 */
/*
 * host_kthread.bpf.h - pinned kernel threads: before every server, on the host's account (CBS-9).
 *
 * One of them serves everybody on its CPU, so it runs at once when it wakes, and as a rule for microseconds. But what they do has no bound:
 * ksoftirqd under a flood, the kworkers that free what a killed crowd had. So where a server is ready they have the host's share of the CPU
 * (host_share_ppm), SPARE_KTHREAD_BURST_NS of it at once; beyond that they go behind the servers until they may again. What the servers leave they
 * share with the rest of the host, slice for slice.
 */
#ifndef SPARE_HOST_KTHREAD_BPF_H
#define SPARE_HOST_KTHREAD_BPF_H

#include "spare.bpf.h"
#include <sched_spare/abi.h>
#include <sched_spare/cbs.h>
#include <sched_spare/edf.h>
#include "kfuncs.bpf.h"
#include "compat.bpf.h"
#include "host_cpu.bpf.h"
#include "cpu.bpf.h"
#include "host_group.bpf.h"
#include "host_floor.bpf.h"

enum kthread_const : __u64 {
	SPARE_KTHREAD_BURST_NS	= 5000000ULL,	/* what they may take at once of servers that are ready, */
	SPARE_KTHREAD_TURN_NS	= 1000000ULL,	/* and what they wait for when they have had that */
	SPARE_KTHREAD_LEAST_NS	= 50000ULL,	/* less is nothing, */
	SPARE_KTHREAD_PPM_MIN	= 50000,	/* (an admission limit of 100 % does not stop the kernel) */
};

/* For user space: what they took of ready servers beyond the host's share. */
CLASS_VAR u64 host_overrun_ns;

/* Bound to its CPU by the kernel. (With one CPU alone every kernel thread has but that one: kdamond would starve the host.) */
static __always_inline bool is_percpu_kthread(const struct task_struct *p)
{
	const u32 bound = PF_KTHREAD | PF_NO_SETAFFINITY;

	return (p->flags & bound) == bound && p->nr_cpus_allowed == 1;
}

/* Charge the current host task up to now: the kernel has just brought its account up to date. */
static __always_inline void host_charge(struct host_cpu *h, struct task_struct *p)
{
	u64 now = p->se.exec_start;

	h->v = p->scx.dsq_vtime + (host_cost(h, now - h->start_ns) & ~SPARE_VTIME_COUNTED);
	h->start_ns = now;
	set_dsq_vtime(p, h->v);
}

/* The time in which the host's share comes to ns. */
static __always_inline u64 kthread_span(u64 ns)
{
	return ns * SPARE_PPM / (host_share_ppm > SPARE_KTHREAD_PPM_MIN ? host_share_ppm : SPARE_KTHREAD_PPM_MIN);
}

/* Up to when one that begins now may run before servers that are ready. */
static __always_inline u64 kthread_end(const struct host_cpu *h, u64 now)
{
	u64 most = now + kthread_span(SPARE_KTHREAD_BURST_NS);

	if (spare_before(h->kthread_ns, now))
		return now + SPARE_KTHREAD_BURST_NS;
	return spare_before(h->kthread_ns, most) ? now + (most - h->kthread_ns) / kthread_span(1) : now;
}

/* Since when a server has been ready, or is due and not replenished yet; 0: none is. */
static __always_inline u64 ready_since(const struct cpu_ctx *c, u64 now)
{
	u64 due;

	if (c->ready.n)
		return c->ready_ns;
	return spare_edf_top(&c->throttled, &due) == SPARE_NO_SLOT || spare_before(now, due) ? 0 : due;
}

/* They have run for `used` ns on a CPU with servers: what counts is since one of those has been ready. */
__noinline int kthread_used(struct cpu_ctx *c __arg_nonnull, u64 used)
{
	struct host_cpu *h = &c->host;
	u64 now = bpf_ktime_get_ns(), burst = kthread_span(SPARE_KTHREAD_BURST_NS), most = now + burst, since = ready_since(c, now), over;

	if (!since)
		return 0;
	if (used > now - since)
		used = now - since;
	if (spare_before(h->kthread_ns, now - used))
		h->kthread_ns = now - used;
	h->kthread_ns += kthread_span(used);
	if (spare_before(h->kthread_ns + kthread_span(SPARE_KTHREAD_LEAST_NS), most))
		return 0;
	if (spare_before(most, h->kthread_ns)) {
		over = (h->kthread_ns - most) / kthread_span(1);
		__sync_fetch_and_add(&host_overrun_ns, over < used ? over : used);
	}
	if (spare_before(most + burst, h->kthread_ns))
		h->kthread_ns = most + burst;
	h->kthread_due_ns = h->kthread_ns - burst + kthread_span(SPARE_KTHREAD_TURN_NS);
	return 0;
}

/* Do they go behind the servers now? */
static __always_inline bool kthread_waits(struct cpu_ctx *c)
{
	struct host_cpu *h = &c->host;
	u64 now;

	if (!h->kthread_due_ns)
		return false;
	now = bpf_ktime_get_ns();
	if (h->servers && !h->offline && spare_before(now, h->kthread_due_ns))
		return ready_since(c, now);
	h->kthread_due_ns = 0;
	return false;
}

/* Before the queue it may be far ahead of it, whose time is that of who has waited for a turn: back to that. */
static __always_inline void kthread_clamp(struct host_cpu *h, struct task_struct *p)
{
	if (spare_before(h->vnow, p->scx.dsq_vtime))
		set_dsq_vtime(p, (h->vnow & ~SPARE_VTIME_COUNTED) | (p->scx.dsq_vtime & SPARE_VTIME_COUNTED));
}

/* Who is first in the host's queue, and at which virtual time (one who has had a turn is another then); 0: nobody. */
static __always_inline u64 host_first(s32 cpu)
{
	struct task_struct *head = scx_bpf_dsq_peek(host_dsq(cpu));

	return head ? head->scx.dsq_vtime + ((u64)head->pid << 40) : 0;
}

/*
 * The first of the host's queue, or who is parked and due, has waited for a slice, as one of them woke or went on each time. Then the rest of the host
 * has a turn, as long as a slice, before those that wait or go on. (Who wakes while a host task runs goes first, and the turn continues.)
 */
static __always_inline bool host_has_turn(struct cpu_ctx *c, s32 cpu)
{
	struct host_cpu *h = &c->host;
	u64 now, first;

	if (c->ready.n)
		return false;
	now = bpf_ktime_get_ns();
	if (!host_waits(h, now)) {
		h->stood_ns = now;
		return false;
	}
	if (spare_before(now, h->turn_end_ns))
		return true;
	first = host_first(cpu);
	/* The count begins anew: after a turn, with another first one, and (others took all that waited here) with nobody. */
	if (h->turn_end_ns || h->first != first || (!first && (!h->park_ns || spare_before(now, h->park_ns)))) {
		h->turn_end_ns = 0;
		h->first = first;
		h->stood_ns = now;
		return false;
	}
	if (spare_before(now, h->stood_ns + SPARE_HOST_SLICE_NS))
		return false;
	h->turn_end_ns = now + SPARE_HOST_SLICE_NS;
	return true;
}

/* Is one of them the CPU's current task? (The idle task and the stopper look like it.) */
static __always_inline bool kthread_current(s32 cpu)
{
	const struct rq *rq = bpf_per_cpu_ptr(&runqueues, cpu);
	const struct task_struct *curr = rq ? rq->curr : NULL;

	return curr && is_percpu_kthread(curr) && curr->pid && curr->prio >= MAX_RT_PRIO;
}

/*
 * One wakes. To the local queue, where it may: and only then, while anything is in there the kernel does not call dispatch, and nobody would replenish. One
 * that waits for a turn's end does not end what another one of them does at once in that turn.
 */
__noinline int kthread_wakes(struct cpu_ctx *c __arg_nonnull, struct task_struct *p __arg_trusted, s32 cpu, u64 enq_flags)
{
	struct host_cpu *h = &c->host;
	bool waits = kthread_waits(c);
	u64 turn = h->turn_end_ns;

	if (!waits && (!kthread_current(cpu) || !host_has_turn(c, cpu))) {
		dsq_insert(p, SCX_DSQ_LOCAL, SPARE_HOST_SLICE_NS, enq_flags | SCX_ENQ_PREEMPT);
		return 0;
	}
	dsq_insert(p, kthread_dsq(cpu), SPARE_HOST_SLICE_NS, enq_flags);
	h->kthreads = 1;
	/* The timer is not armed for it. */
	if (waits || turn != h->turn_end_ns)
		spare_kick(cpu);
	return 0;
}

static __always_inline void kthread_enqueue(struct cpu_ctx *c, struct task_struct *p, s32 cpu, u64 enq_flags)
{
	kthread_clamp(&c->host, p);
	if (enq_flags & SCX_ENQ_WAKEUP) {
		kthread_wakes(c, p, cpu, enq_flags);
		return;
	}
	dsq_insert(p, kthread_dsq(cpu), SPARE_HOST_SLICE_NS, enq_flags);
	c->host.kthreads = 1;
	/* One that is bound anew comes from elsewhere, perhaps while the CPU's dispatch has let go of the lock. */
	if (c->host.idle)
		spare_kick(cpu);
}

/* What it has run so far: it may go on, perhaps without ops.enqueue, or has just gone to sleep. */
__noinline int kthread_charge(struct cpu_ctx *c __arg_nonnull, struct task_struct *p __arg_trusted)
{
	struct host_cpu *h = &c->host;
	u64 start = h->start_ns;

	host_charge(h, p);
	kthread_clamp(h, p);
	if (h->servers)
		kthread_used(c, h->start_ns - start);
	return 0;
}

/* One of them begins to run, or goes on, where there are servers: when one is ready the timer ends what it may have. */
static __always_inline void kthread_limit(struct cpu_ctx *c, u64 now)
{
	c->host.grant_end_ns = c->ready.n ? kthread_end(&c->host, now) : 0;
}

#endif
