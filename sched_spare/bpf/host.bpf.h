/* SPDX-License-Identifier: GPL-2.0 */
/*
 * host.bpf.h - everything that has no reservation runs fairly in what the servers leave (CBS-9).
 *
 * Pinned kernel threads go first (host_kthread.bpf.h). The rest runs by virtual time, each CPU from its own queue. A CPU that would go idle takes
 * from another's queue.
 *
 * Short cuts. On a CPU without servers a task that wakes goes to the kernel's local queue, unless something else waits: then
 * neither a queue of ours nor ops.dispatch is on its way. Only who is not ahead of the queue's virtual time may: the local
 * queue is served first, whatever there is.
 */
#ifndef SPARE_HOST_BPF_H
#define SPARE_HOST_BPF_H

#include "spare.bpf.h"
#include <sched_spare/abi.h>
#include <sched_spare/cbs.h>
#include "kfuncs.bpf.h"
#include "compat.bpf.h"
#include "host_cpu.bpf.h"
#include "cpu.bpf.h"
#include "task.bpf.h"
#include "host_group.bpf.h"
#include "host_limit.bpf.h"
#include "stray.bpf.h"
#include "host_timer.bpf.h"
#include "host_balance.bpf.h"
#include "host_tell.bpf.h"
#include "host_kthread.bpf.h"

/* The current host task's virtual time when the CPU's clock was `now` (rq_clock_task). */
static __always_inline u64 host_vcur(const struct host_cpu *h, u64 now)
{
	return h->v + host_cost(h, now - h->start_ns);
}

/*
 * Is the one that runs on the CPU so far ahead of virtual time v that a wake-up at v preempts it? A whole credit: then who sleeps most
 * of the time does, and those that wake each other all the time (pipes, sockets) run in turns, as under EEVDF. The kernel has just read
 * the clock. Whom a higher class has put aside was charged as it stopped.
 */
static __always_inline bool host_is_ahead(const struct host_cpu *h, s32 cpu, u64 v)
{
	const struct rq *rq = bpf_per_cpu_ptr(&runqueues, cpu);
	const struct task_struct *curr = rq ? rq->curr : NULL;

	return curr && spare_before(v + SPARE_HOST_CREDIT_NS, curr->prio < MAX_RT_PRIO ? h->v : host_vcur(h, rq->clock_task));
}

/* Without SMT an idle CPU is as good as any: then the last one is taken without looking at the others. */
static __always_inline s32 host_select_cpu(struct task_struct *p, s32 prev_cpu, u64 wake_flags)
{
	bool idle = false;
	s32 cpu;

	if (!idle_cpus)
		return prev_cpu;
	/* (Who may run everywhere needs no look at a mask.) */
	if (!smt_active && (p->nr_cpus_allowed == nr_cpus || bpf_cpumask_test_cpu(prev_cpu, p->cpus_ptr)) &&
	    scx_bpf_test_and_clear_cpu_idle(prev_cpu)) {
		cpu = prev_cpu;
		idle = true;
	} else {
		cpu = scx_bpf_select_cpu_dfl(p, prev_cpu, wake_flags, &idle);
	}
	if (idle && !task_limit(p))
		dsq_insert(p, SCX_DSQ_LOCAL, SPARE_HOST_SLICE_NS, 0);
	return cpu;
}

/* Whoever slept is at most so far behind. */
static __always_inline u64 host_wakes_at(const struct host_cpu *h, u64 v)
{
	u64 least = h->vnow - SPARE_HOST_CREDIT_NS;

	return spare_before(v, least) ? (least & ~SPARE_VTIME_COUNTED) | (v & SPARE_VTIME_COUNTED) : v;
}

/*
 * To the local queue, where that is fair: neither a queue of ours nor ops.dispatch is on the way. Who would have to wait there although
 * another CPU may get idle and take it does not go (nobody can take from a local queue). The caller knows that the CPU has no server and
 * p's cgroup no limit. Returns whether p is queued.
 */
static __always_inline bool host_short_cut(struct cpu_ctx *c, struct task_struct *p, u64 enq_flags)
{
	struct host_cpu *h = &c->host;
	bool preempt;
	u64 v;

	if (h->no_short_cut)
		return false;
	/* Its virtual time and its group are seen to when it runs, at once (host_runs). */
	if (h->idle) {
		h->local = 1;
		dsq_insert(p, SCX_DSQ_LOCAL, SPARE_HOST_SLICE_NS, enq_flags);
		return true;
	}
	if (is_percpu_kthread(p))
		return false;
	v = host_wakes_at(h, p->scx.dsq_vtime);
	if (!spare_before(v, h->vnow + SPARE_HOST_GRAIN_NS))
		return false;
	preempt = enq_flags & SCX_ENQ_WAKEUP && c->cur == SPARE_NO_SLOT && host_is_ahead(h, task_cpu(p), v);
	if (!preempt && nr_cpus > 1 && p->nr_cpus_allowed > 1)
		return false;
	/* (One that is put as it was has been counted since it woke: whatever changes, group or weight, queues it with a flag.) */
	if (enq_flags & ~SCX_ENQ_LAST)
		v = group_enter(p, task_group_id(p), v);
	set_dsq_vtime(p, v);
	h->local = 1;
	if (preempt)
		enq_flags |= SCX_ENQ_PREEMPT;
	dsq_insert(p, SCX_DSQ_LOCAL, SPARE_HOST_SLICE_NS, enq_flags);
	return true;
}

/* Nobody is ahead of the queue by more than some slices of its own: those of different CPUs may have drifted apart. */
static __always_inline u64 host_behind(const struct host_cpu *h, struct task_struct *p, u64 v)
{
	struct host_group *g = group(task_group_id(p));
	u64 most = SPARE_HOST_AHEAD * SPARE_HOST_SLICE_NS * 100 / (p->scx.weight ?: 1);

	if (g)
		most = (most >> 10) * g->cost >> (SPARE_COST_SHIFT - 10);	/* (2^31, 2^35 at most) */
	most += h->vnow + SPARE_HOST_GRAIN_NS;
	return spare_before(most, v) ? (most & ~SPARE_VTIME_COUNTED) | (v & SPARE_VTIME_COUNTED) : v;
}

/* p's cgroup has used its cpu.max: p waits for the refill. Returns whether it does. */
__noinline int host_park(struct cpu_ctx *c __arg_nonnull, struct task_struct *p __arg_trusted, u32 limit, u64 v, u64 enq_flags)
{
	s32 cpu = task_cpu(p);
	struct host_cpu *h = &c->host;
	struct task_ctx *t = task_ctx(p);
	u64 due, now, end;

	if (t && t->grant_ns)
		limit_return(t);
	due = task_due(p, limit, bpf_ktime_get_ns());
	now = bpf_ktime_get_ns();
	if (due && t && is_net(p, t) && !guard_due_stray(p, now)) {
		t->grant_ns = stray_advance(limit, now);
		t->grant_of = limit;
		if (t->grant_ns)
			due = 0;
	}
	if (!due) {
		/* One that is put now had nothing when dispatch chose, and an idle CPU would not look. */
		if (!(enq_flags & SCX_ENQ_WAKEUP))
			c->look = LOOK_IDLE;
		return false;
	}
	dsq_insert_vtime(p, park_dsq(cpu), SPARE_HOST_SLICE_NS, limit_place(h, p, limit, v), enq_flags);
	limit_parks(h, due);
	h->detour |= DETOUR;
	/*
	 * In the switch away from p a kick would be lost: dispatch has chosen before, and the kernel forgets the wish when it has
	 * switched. While a server's thread runs its timer stays. One that the kernel pins in that switch is queued again, when an idle CPU has
	 * perhaps armed the timer to look at once (idle_begins).
	 */
	if (cpu == (s32)bpf_get_smp_processor_id() && c->cur == SPARE_NO_SLOT) {
		now = bpf_ktime_get_ns();
		due = next_replenishment(c);
		/* (Who leaves the kernel, and wakes others meanwhile, has no longer for it.) */
		end = spare_before(now, h->grant_end_ns) ? host_leaves(h, due) : 0;
		due = gap_event(c, due);
		spare_timer_arm(cpu, h->idle && h->queued ? now : due, end);
	} else {
		spare_kick(cpu);
	}
	return true;
}

__noinline int host_enqueue(struct task_struct *p __arg_trusted, u64 enq_flags)
{
	s32 cpu = task_cpu(p);
	struct cpu_ctx *c = cpu_ctx(cpu);
	struct host_cpu *h;
	u32 limit;
	bool preempt;
	u64 v;

	if (!c) {
		dsq_insert(p, SCX_DSQ_LOCAL, SPARE_HOST_SLICE_NS, enq_flags);
		return 0;
	}
	h = &c->host;
	if (is_percpu_kthread(p)) {
		kthread_enqueue(c, p, cpu, enq_flags);
		return 0;
	}
	limit = task_limit(p);
	if (!limit && !h->servers && host_short_cut(c, p, enq_flags))
		return 0;
	v = group_enter(p, task_group_id(p), host_wakes_at(h, p->scx.dsq_vtime));
	if (spare_before(h->vnow + SPARE_HOST_GRAIN_NS, v))
		v = host_behind(h, p, v);
	if (limit && host_park(c, p, limit, v, enq_flags))
		return 0;
	preempt = enq_flags & SCX_ENQ_WAKEUP && !h->idle && c->cur == SPARE_NO_SLOT && host_is_ahead(h, cpu, v);
	dsq_insert_vtime(p, host_dsq(cpu), SPARE_HOST_SLICE_NS, v, enq_flags);
	h->queued = 1;
	if (preempt)
		h->detour |= DETOUR_RUN;
	if (preempt || h->idle)
		spare_kick(cpu);
	else if (idle_cpus)
		kick_idle_for(p, cpu);
	return 0;
}

static __always_inline void host_stopping(struct cpu_ctx *c, struct task_struct *p, bool runnable)
{
	struct host_cpu *h = &c->host;
	u64 start = h->start_ns;

	host_charge(h, p);
	h->kthread_runs = 0;
	if (h->grant_end_ns) {
		if (h->limit)
			limit_stopping(h, p, h->start_ns - start);
		/* A server cut the valve's turn short: as if it woke, or it would wait as long again. */
		else if (runnable && spare_before(bpf_ktime_get_ns(), h->valve_half_ns))
			set_dsq_vtime(p, ((h->vnow - SPARE_HOST_CREDIT_NS) & ~SPARE_VTIME_COUNTED) | (h->v & SPARE_VTIME_COUNTED));
		h->grant_end_ns = 0;
	}
	if (h->servers && is_percpu_kthread(p))
		kthread_used(c, h->start_ns - start);
	if (!runnable && p->scx.dsq_vtime & SPARE_VTIME_COUNTED)
		group_leave(p, task_ctx(p));
}

/* The current task goes on for a slice, unless its cgroup has used its cpu.max. */
__noinline int host_keep(struct host_cpu *h __arg_nonnull, struct task_struct *prev __arg_trusted)
{
	u64 used = prev->se.exec_start - h->start_ns, now;
	u32 limit;

	host_charge(h, prev);
	if (h->limit)
		limit_stopping(h, prev, used);
	if (spare_before(h->vnow, h->v))
		h->vnow = h->v;
	h->cost = host_price(prev, task_group_id(prev));
	h->grant_end_ns = 0;
	/* Not the one it had, or had not: its VM may have won or lost a server, its cgroup a cpu.max. */
	limit = task_limit(prev);
	if (limit) {
		now = bpf_ktime_get_ns();
		h->limit = limit;
		limit_begins(h, prev, now);
		h->dispatch_ns = 0;
		h->grant_ns = task_take(prev, limit, now);
		/* (Without a grant it stops at once: no timer.) */
		h->grant_end_ns = now + (h->grant_ns ?: SPARE_HOST_SLICE_NS);
		if (!h->grant_ns)
			return false;
	}
	scx_bpf_task_set_slice(prev, SPARE_HOST_SLICE_NS);
	return true;
}

/*
 * The first of the CPU's own queue. The flag falls before the look at what is left: who puts something in from elsewhere raises
 * it afterwards.
 */
static __always_inline bool host_take(struct host_cpu *h, s32 cpu)
{
	bool taken = dsq_move_to_local(host_dsq(cpu));

	h->queued = 0;
	barrier();
	if (scx_bpf_dsq_nr_queued(host_dsq(cpu)) > 0)
		h->queued = 1;
	return taken;
}

/* What cpu.max holds back or lets go, and who has waited too long. */
static __always_inline void host_review(struct host_cpu *h, s32 cpu, u64 now)
{
	u64 mono;

	host_valve(h, cpu, now);
	if (!h->park_ns && !host_regulated)
		return;
	mono = bpf_ktime_get_ns();
	if (h->park_ns && !spare_before(mono, h->park_ns))
		limit_unpark(h, cpu, mono);
	if (h->queued)
		limit_pass(h, cpu, mono);
}

/*
 * prev or the first of the CPU's queue, whichever is behind; with nothing of its own the CPU looks at others'. Returns whether there
 * is somebody.
 */
__noinline int host_choose(struct host_cpu *h __arg_nonnull, s32 cpu, struct task_struct *prev __arg_trusted __arg_nullable)
{
	u64 now = scx_bpf_now();
	struct task_struct *head;

	if (h->queued || h->park_ns)
		host_review(h, cpu, now);
	/* Its slice is over, or it has yielded: it goes on only if it is clearly behind. */
	if (h->queued && prev) {
		head = scx_bpf_dsq_peek(host_dsq(cpu));
		if (head && spare_before(host_vcur(h, prev->se.exec_start) + SPARE_HOST_GRAIN_NS, head->scx.dsq_vtime) && host_keep(h, prev))
			return true;
	}
	if (nr_cpus > 1 && host_balance(h, cpu, now))
		return true;
	if (h->queued && host_take(h, cpu))
		return true;
	return (prev && host_keep(h, prev)) || host_steal(h, cpu);
}

/* What the servers leave. prev: the host task that runs, NULL when it cannot go on. Returns whether there is somebody. */
static __always_inline bool host_dispatch(struct host_cpu *h, s32 cpu, struct task_struct *prev)
{
	h->detour = 0;
	if (!h->queued && !h->park_ns && !prev)
		return nr_cpus > 1 && host_steal(h, cpu);
	return host_choose(h, cpu, prev);
}

/*
 * A pinned kernel thread runs, or, when the rest of the host has a turn, one of those. prev: the host task that runs, NULL when
 * it cannot go on. Returns whether one of them does; then the timer is seen to.
 */
__noinline int kthread_dispatch(struct cpu_ctx *c __arg_nonnull, s32 cpu, struct task_struct *prev __arg_trusted __arg_nullable)
{
	struct host_cpu *h = &c->host;
	bool runs = prev && is_percpu_kthread(prev);

	if (runs)
		kthread_charge(c, prev);
	else if (!h->kthreads)
		return false;
	if (host_has_turn(c, cpu) && host_dispatch(h, cpu, runs ? NULL : prev)) {
		arm_next(c, cpu);
		return true;
	}
	if (h->kthreads) {
		h->kthreads = 0;
		if (dsq_move_to_local(kthread_dsq(cpu))) {
			h->kthreads = 1;	/* perhaps there are more */
			runs = false;
		} else if (!runs) {
			return false;
		}
	}
	if (runs) {
		h->grant_end_ns = 0;
		if (h->servers)
			kthread_limit(c, bpf_ktime_get_ns());
		scx_bpf_task_set_slice(prev, SPARE_HOST_SLICE_NS);
	}
	/* Without servers nothing of them is due. (Who is parked waits: armed for a time that has passed, the timer would fire without end.) */
	if (h->servers)
		spare_timer_arm(cpu, kthread_event(c, next_replenishment(c)), 0);
	return true;
}

/* A host task begins to run. regulated: host_regulated; the run in which the first cpu.max is seen is not yet under it. Returns whether the caller has to arm the CPU's timer. */
static __always_inline bool host_runs(struct cpu_ctx *c, struct task_struct *p, bool regulated)
{
	struct host_cpu *h = &c->host;
	u32 id = task_group_id(p), limit;
	u64 v = p->scx.dsq_vtime;

	h->local = 0;
	if (h->idle)
		host_idle_ends(h);
	if (spare_before(h->vnow, v))
		h->vnow = v;
	else
		v = host_wakes_at(h, v);
	/* It came here without ops.enqueue (an idle CPU, a change of its attributes). */
	if (id && !(v & SPARE_VTIME_COUNTED))
		v = group_enter(p, id, v);
	set_dsq_vtime(p, v);
	h->v = v;
	h->start_ns = p->se.exec_start;
	h->cost = host_price(p, id);
	limit = regulated ? task_limit_in(p, id) : 0;
	if (limit)
		limit_running(h, p, limit);
	h->dispatch_ns = 0;
	if (!limit && p->scx.slice <= SPARE_VALVE_SLICE_NS) {
		h->grant_end_ns = bpf_ktime_get_ns() + p->scx.slice;
		if (p->scx.slice >= SPARE_VALVE_SLICE_MIN_NS)
			h->valve_half_ns = h->grant_end_ns - p->scx.slice / 2;
	}
	if (h->detour & DETOUR_RUN && !is_percpu_kthread(p))
		h->grant_end_ns = bpf_ktime_get_ns();
	return h->grant_end_ns != 0;
}

__noinline int host_running(struct cpu_ctx *c __arg_nonnull, struct task_struct *p __arg_trusted)
{
	return host_runs(c, p, true);
}

/* A task comes into the class, by birth or from another one. */
static __always_inline void host_enable(struct task_struct *p)
{
	struct cpu_ctx *c = cpu_ctx(scx_bpf_task_cpu(p));

	if (c)
		set_dsq_vtime(p, c->host.vnow & ~SPARE_VTIME_COUNTED);
}

/*
 * What waits in a queue waits in the host queue of a CPU from now on, at the virtual time of that: another CPU's, or a place in a
 * server's queue, can be far ahead of it, and the task would not run before the others had caught up. keep: bits that stay; from: the CPU
 * whose lock is held; goes: a CPU that goes: whose threads the kernel itself takes elsewhere, from its local queue alone, whatever their affinity
 * says, or lets them run there (bound kernel threads, migration switched off); or -1: none, and only some tasks, as interrupts are off.
 */
__noinline int host_adopt(struct host_cpu *from __arg_nonnull, u64 dsq, s32 cpu, u64 keep, s32 goes)
{
	u32 most = goes < 0 ? SPARE_ADOPT : SPARE_ADOPT_ALL;
	struct cpu_ctx *c = cpu_ctx(cpu);
	struct task_struct *p;
	struct task_ctx *t;

	if (!c)
		return 0;
	from->scan = 0;
	bpf_for_each(scx_dsq, p, dsq, 0) {
		if (from->scan++ >= most)
			break;
		t = task_ctx(p);
		if (t)
			task_unqueued(t);
		if (goes >= 0 && task_cpu(p) == goes) {
			scx_bpf_dsq_move(BPF_FOR_EACH_ITER, p, SCX_DSQ_LOCAL_ON | (u32)goes, 0);
			continue;
		}
		scx_bpf_dsq_move_set_slice(BPF_FOR_EACH_ITER, SPARE_HOST_SLICE_NS);
		scx_bpf_dsq_move_set_vtime(BPF_FOR_EACH_ITER, (c->host.vnow & ~SPARE_VTIME_COUNTED) | (p->scx.dsq_vtime & keep));
		if (scx_bpf_dsq_move_vtime(BPF_FOR_EACH_ITER, p, host_dsq(cpu), 0) && idle_cpus) {
			c->host.queued = 1;
			kick_idle_for(p, cpu);
		}
	}
	c->host.queued = 1;
	spare_kick(cpu);
	return 0;
}

/* The CPU goes: what waits there waits elsewhere (LIFE-4). */
static __always_inline void host_cpu_offline(struct host_cpu *h, s32 cpu)
{
	s32 home;

	h->offline = 1;
	home = host_home(cpu);
	host_idle(h, false);
	if (home == cpu)
		return;
	host_adopt(h, host_dsq(cpu), home, SPARE_VTIME_COUNTED, cpu);
	host_adopt(h, kthread_dsq(cpu), home, SPARE_VTIME_COUNTED, cpu);
	host_adopt(h, park_dsq(cpu), home, SPARE_VTIME_COUNTED, cpu);
	host_adopt(h, SPARE_DSQ_GUARD | (u32)cpu, home, 0, cpu);
	h->park_ns = h->park_due_ns = 0;
	h->park_left = 0;
}

static __always_inline void host_tick(struct host_cpu *h)
{
	h->detour |= DETOUR;
	if (spare_before(host_vref, h->vnow))
		host_vref = h->vnow;
}

#endif
