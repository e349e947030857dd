/* SPDX-License-Identifier: GPL-2.0 */
/*
 * host_limit.bpf.h - cpu.max of host cgroups (CBS-9). The kernel does not enforce it while a sched_ext class runs.
 *
 * A limited cgroup has a bucket that every period fills up by its quota, to quota + burst at most. Before a task of it runs, it
 * takes what it may run from the buckets of the whole chain of limited cgroups above it (a grant); a hard timer ends the run with
 * the grant, what is left over goes back, and what was overrun stays missing. So a cgroup uses in the long run what it
 * may and not more, and at any time at most a short turn, and the latency of the timer and of the switch once per CPU, in advance.
 *
 * Who finds a bucket of its chain empty waits in its CPU's parking queue, by virtual time, until the refill: so weights hold below a limit, too. Only as
 * many are let out as there is for them to take.
 */
#ifndef SPARE_HOST_LIMIT_BPF_H
#define SPARE_HOST_LIMIT_BPF_H

#include "spare.bpf.h"
#include <sched_spare/abi.h>
#include <sched_spare/bucket.h>
#include <sched_spare/cbs.h>
#include <sched_spare/edf.h>
#include "kfuncs.bpf.h"
#include "host_cpu.bpf.h"
#include "cpu.bpf.h"
#include "task.bpf.h"
#include "guard.bpf.h"
#include "host_group.bpf.h"
#include "stray.bpf.h"

enum limit_const : __u64 {
	SPARE_GRANT_MAX_NS	= SPARE_HOST_SLICE_NS,
	SPARE_TURNS_AHEAD	= 4,		/* of its own, that one may be ahead of those who are parked */
	SPARE_PARK_SCAN		= 512,		/* parked tasks looked at in one go, */
	SPARE_PARK_SKIP		= 1 << 14,	/* behind so many at most that the goes before have looked at, */
	SPARE_PARK_REST_NS	= 10000000ULL,	/* so much later the next, when none of them had anything to take */
	SPARE_PASS_SCAN		= 32,		/* and such at the head of the queue */
	SPARE_ADOPT		= 64,		/* tasks that change their queue in one go, */
	SPARE_ADOPT_NS		= 1000000ULL,	/* from one go to the next */
	SPARE_ADOPT_ALL		= 1 << 30,	/* and where there is no other */
};

static __always_inline u64 park_dsq(s32 cpu)
{
	return SPARE_DSQ_PARK | (u32)cpu;
}

static __always_inline void limit_refill(struct host_group *g, u64 now)
{
	u64 quota = g->quota_us * 1000;

	spare_bucket_refill(&g->left_ns, &g->refill_ns, quota, g->period_us * 1000, quota + g->burst_us * 1000, now);
}

/* Put ns (less than 0: take) into the buckets from `id` up to, but without, `end`. */
__noinline int limit_add(u32 id, u32 end, s64 ns)
{
	struct host_group *g;
	int i;

	if (id & SPARE_LIMIT_SERVER)
		return stray_add(id, ns);
	bpf_for(i, 0, SPARE_GROUP_LEVELS) {
		g = id == end ? NULL : group(id);
		if (!g)
			break;
		__sync_fetch_and_add(&g->left_ns, ns);
		id = g->limit_up;
	}
	return 0;
}

/* Take so much from a bucket. Returns what it gives of that; 0: it is exhausted. */
__noinline u64 bucket_take(struct host_group *g __arg_nonnull, u64 want, u64 now)
{
	s64 old;

	limit_refill(g, now);
	old = __sync_fetch_and_add(&g->left_ns, -want);
	if (old < (s64)SPARE_LEFT_MIN_NS) {
		__sync_fetch_and_add(&g->left_ns, want);
		__sync_fetch_and_add(&g->throttled, 1);
		return 0;
	}
	/* The rest of it, or a whole turn in advance: one in which a thread gets nothing done would cost it a round. */
	if (old < (s64)SPARE_GRANT_MIN_NS)
		old = SPARE_GRANT_MIN_NS;
	if (old >= (s64)want)
		return want;
	__sync_fetch_and_add(&g->left_ns, want - old);
	return old;
}

/* What a task takes at once. A crowd takes less each, so that all get their turn in few periods. */
static __always_inline u64 limit_turn(const struct host_group *g)
{
	u64 nr = g->sum / (100 << SPARE_WEIGHT_SHIFT) + 1, turn = g->quota_us * 1000 / nr;

	if (turn > SPARE_GRANT_MAX_NS)
		turn = SPARE_GRANT_MAX_NS;
	return turn < SPARE_GRANT_MIN_NS ? SPARE_GRANT_MIN_NS : turn;
}

/*
 * Where p, of virtual time v, is parked. Who has just run before there was a limit, or a wider one, is ahead of the others by slices, and they would take
 * turns by the dozen before the next one of its own: here by one.
 */
__noinline u64 limit_place(const struct host_cpu *h __arg_nonnull, struct task_struct *p __arg_trusted, u32 limit, u64 v)
{
	struct host_group *g = limit & SPARE_LIMIT_SERVER ? NULL : group(limit);
	u64 turn;

	if (!g || spare_before(v, h->vnow))
		return v;
	turn = limit_turn(g) * host_price(p, task_group_id(p)) >> SPARE_COST_SHIFT;
	if (v - h->vnow <= SPARE_TURNS_AHEAD * turn)
		return v;
	return ((h->vnow + turn) & ~SPARE_VTIME_COUNTED) | (v & SPARE_VTIME_COUNTED);
}

/* Take a grant from the chain of limits that begins with `id`. 0: one of them is exhausted. */
__noinline u64 limit_take(u32 id, u64 now)
{
	struct host_group *g;
	u64 got, given;
	u32 at = id;
	int i;

	if (id & SPARE_LIMIT_SERVER)
		return stray_take(id, now);
	g = group(id);
	if (!g)
		return SPARE_GRANT_MAX_NS;
	got = limit_turn(g);
	bpf_for(i, 0, SPARE_GROUP_LEVELS) {
		g = group(at);
		if (!g)
			break;
		given = bucket_take(g, got, now);
		if (given < got)
			limit_add(id, at, got - given);
		if (!given)
			return 0;
		got = given;
		at = g->limit_up;
	}
	return got;
}

/* The same for p, in advance if it is a network thread; of a vhost worker with a limit of its own (GUARD-2) only while that leaves something. */
__noinline u64 task_take(struct task_struct *p __arg_trusted, u32 limit, u64 now)
{
	struct spare_vm *vm = limit & SPARE_LIMIT_SERVER ? task_vm(p) : NULL;
	u64 most = SPARE_GRANT_MAX_NS, got;
	struct task_ctx *t;

	got = limit_take(limit, now);
	t = got ? NULL : task_ctx(p);
	if (t && is_net(p, t))
		got = stray_advance(limit, now);
	if (got && vm && guard_limits(vm, p))
		most = guard_may(vm, now);
	if (most >= got)
		return got;
	limit_add(limit, 0, (s64)(got - most));
	return most;
}

/* When the chain has something again; 0: it has. */
__noinline u64 limit_due(u32 id, u64 now)
{
	struct host_group *g;
	u64 due = 0;
	int i;

	bpf_for(i, 0, SPARE_GROUP_LEVELS) {
		g = group(id);
		if (!g)
			break;
		limit_refill(g, now);
		if (g->left_ns < (s64)SPARE_LEFT_MIN_NS && (!due || spare_before(due, g->refill_ns)))
			due = g->refill_ns;
		id = g->limit_up;
	}
	return due;
}

/* The same for p. */
__noinline u64 task_due(struct task_struct *p __arg_trusted, u32 limit, u64 now)
{
	u64 due, guard;

	if (!(limit & SPARE_LIMIT_SERVER))
		return limit_due(limit, now);
	due = stray_due(p, now);
	guard = guard_due_stray(p, now);
	return spare_before(due, guard) ? guard : due;
}

/*
 * The limit that p, of this group, is under; 0: none. A VM's cpu.max is the mirror of its reservation, which governs it alone, but while
 * all its CPUs are away.
 */
__noinline u32 task_limit_in(struct task_struct *p __arg_trusted, u32 id)
{
	u32 payer = task_vm(p) ? stray_payer(p) : 0;
	struct host_group *g;

	if (payer || !id || !host_limits)
		return payer;
	g = task_group_of(p, id);
	return g ? g->limit : 0;
}

static __always_inline u32 task_limit(struct task_struct *p)
{
	return host_regulated ? task_limit_in(p, task_group_id(p)) : 0;
}

/* Somebody in the parking queue may have a turn then. The caller sees to the CPU's timer. */
static __always_inline void limit_note(struct host_cpu *h, u64 due)
{
	if (!h->park_ns || spare_before(due, h->park_ns))
		h->park_ns = due;
}

/* Somebody may have one now, and there are idle CPUs. */
static __always_inline bool host_parked_idle(const struct host_cpu *h, u64 now)
{
	return h->park_ns && idle_cpus && !spare_before(now, h->park_ns) && !spare_before(now, h->park_idle_ns);
}

/* p waits for the refill at `due`, behind those whom an open circle (limit_unpark) still looks at. */
static __always_inline void limit_parks(struct host_cpu *h, u64 due)
{
	if (h->park_left) {
		if (!h->park_due_ns || spare_before(due, h->park_due_ns))
			h->park_due_ns = due;
		if (h->park_ns)
			return;	/* its next look comes, and its end notes this */
	}
	limit_note(h, due);
}

/* p's run under a limit begins. */
static __always_inline void limit_begins(struct host_cpu *h, struct task_struct *p, u64 now)
{
	h->late_ns = p->se.exec_start == h->unseen_at ? h->unseen_ns : 0;
	h->began_ns = now;
}

/* A task under `limit` begins to run. Returns whether the timer has to be armed. */
static __always_inline void limit_running(struct host_cpu *h, struct task_struct *p, u32 limit)
{
	struct task_ctx *t = task_ctx(p);
	u64 now = bpf_ktime_get_ns();

	h->limit = t && t->grant_ns ? t->grant_of : limit;
	h->grant_ns = t ? t->grant_ns : 0;
	if (t)
		t->grant_ns = 0;
	if (!h->grant_ns)
		h->grant_ns = task_take(p, h->limit, now);
	h->grant_end_ns = now + h->grant_ns;
	limit_begins(h, p, now);
}

/*
 * p's run under a limit ends, after `used` ns by the kernel's account. By that its limit is charged, as sched_switch sees it: a VM's strays have their
 * reservation to 0.02 % so. (By the clock, to 0.4 %.) But the kernel misses what was run since the last tick where the run began without a wake-up on an idle
 * CPU, and gives it to whoever comes next, or, where the CPU goes idle, to nobody (DESIGN, "The rq clock"): a tenant could have it so, again and again. So this
 * one pays for it by the clock, and whoever comes next without a gap pays so much less.
 *
 * Virtual time is of the run alone: the look for work before it, which a long queue of parked ones makes long, is their cgroup's, but who happens to be the
 * first after it is not behind the others for that.
 */
__noinline int limit_stopping(struct host_cpu *h __arg_nonnull, struct task_struct *p __arg_trusted, u64 used)
{
	u64 now = bpf_ktime_get_ns(), run = (h->dispatch_ns ?: now) - h->began_ns, late = h->late_ns, bill = used;
	struct spare_vm *vm;

	h->unseen_ns = 0;
	h->unseen_at = h->start_ns;
	if (!rq_clock_task_own() && (!used || run + late > used + SPARE_MOMENT_NS)) {
		bill = now - h->began_ns + late;
		h->unseen_ns = bill > used ? bill - used : 0;
	}
	bill = bill > late ? bill - late : 0;
	limit_add(h->limit, 0, (s64)(h->grant_ns - bill));
	vm = h->limit & SPARE_LIMIT_SERVER ? task_vm(p) : NULL;
	if (vm && guard_limits(vm, p))
		guard_charge(vm, bill, now);
	h->v += (host_cost(h, run) & ~SPARE_VTIME_COUNTED) - (host_cost(h, used) & ~SPARE_VTIME_COUNTED);
	set_dsq_vtime(p, h->v);
	h->limit = 0;
	h->detour |= DETOUR;	/* so that dispatch looks after the timer */
	return 0;
}

/* A task that was queued with a grant is queued again: it gives it back. */
static __always_inline void limit_return(struct task_ctx *t)
{
	limit_add(t->grant_of, 0, t->grant_ns);
	t->grant_ns = 0;
}

/*
 * Give the first of the CPU's queue its grant; park those that get none. Returns when nothing stands in the way of the first
 * one, or after some.
 */
__noinline int limit_pass(struct host_cpu *h __arg_nonnull, s32 cpu, u64 now)
{
	struct task_struct *p;
	struct task_ctx *t;
	u32 limit;

	h->scan = 0;
	bpf_for_each(scx_dsq, p, host_dsq(cpu), 0) {
		limit = task_limit(p);
		t = limit ? task_ctx(p) : NULL;
		if (!t || t->grant_ns || h->scan++ >= SPARE_PASS_SCAN)
			break;
		t->grant_ns = task_take(p, limit, now);
		t->grant_of = limit;
		if (t->grant_ns)
			break;
		scx_bpf_dsq_move_set_vtime(BPF_FOR_EACH_ITER, limit_place(h, p, limit, p->scx.dsq_vtime));
		if (scx_bpf_dsq_move_vtime(BPF_FOR_EACH_ITER, p, park_dsq(cpu), 0))
			limit_parks(h, task_due(p, limit, now) ?: now);
	}
	return 0;
}

/* Has the circle looked at this virtual time already? Of those of the last one at so many as have stayed. */
static __always_inline bool park_looked(struct host_cpu *h, u64 v)
{
	if (v == h->park_at && h->same < h->park_same) {
		h->same++;
		return true;
	}
	return spare_before(v, h->park_at);
}

/* The circle comes to one of this virtual time. */
static __always_inline void park_reaches(struct host_cpu *h, u64 v)
{
	h->park_left--;
	if (!h->park_goes || v != h->park_at)
		h->park_same = h->same = 0;
	h->park_goes = 1;
	h->park_at = v;
	h->park_same++;
	h->same++;
}

/* A look at the parking queue ends; tail: at those who have come since the circle began. The next one is noted. */
static __always_inline void park_look_ends(struct host_cpu *h, s32 cpu, bool tail, u64 now)
{
	if (h->scan <= SPARE_PARK_SCAN)
		h->park_left = 0;	/* that was the end of it */
	/* (A move lets go of the lock: another CPU may have noted, too.) */
	if (h->park_left)
		limit_note(h, now + (h->let_out ? SPARE_GRANT_MIN_NS : SPARE_PARK_REST_NS));
	else if (h->park_due_ns)
		limit_note(h, h->park_due_ns);
	/* (Those who have come meanwhile, before the others, have taken the places of as many at the end.) */
	if (tail || (!h->park_left && !h->park_due_ns && scx_bpf_dsq_nr_queued(park_dsq(cpu)) > 0))
		limit_note(h, now + SPARE_PARK_REST_NS);
}

enum park_net {
	PARK_OTHER,
	PARK_NET,	/* a network thread, which may get something in advance, */
	PARK_WORKER,	/* or one whose VM has a limit for it */
};

/* What a VM's thread is, as far as it matters there. */
__noinline u32 park_net(const struct host_cpu *h __arg_nonnull, struct task_struct *p __arg_trusted, u64 vm_id)
{
	struct spare_vm *vm = task_vm(p);
	struct task_ctx *t = task_ctx(p);

	if (vm && guard_limits(vm, p))
		return PARK_WORKER;
	return t && !(h->dry_net && vm_id == h->dry_vm) && is_net(p, t) ? PARK_NET : PARK_OTHER;
}

/*
 * The refill that somebody waits for has come: let out those who get a grant. A queue that is too long for one look is gone through in several, each from
 * where the last one ended, or those behind a crowd that stays dry would never be looked at.
 */
__noinline int limit_unpark(struct host_cpu *h __arg_nonnull, s32 cpu, u64 now)
{
	u32 limit, nr = scx_bpf_dsq_nr_queued(park_dsq(cpu));
	struct task_struct *p;
	struct task_ctx *t;
	struct spare_vm *vm;
	bool tail = false;
	u32 net;
	u64 at, vm_id;

	h->park_ns = 0;
	h->scan = h->skip = h->same = h->let_out = h->dry = h->dry_vm = h->dry_net = 0;
	if (!h->park_left) {
		h->park_left = nr;
		h->park_due_ns = 0;
		h->park_goes = 0;
	}
	bpf_for_each(scx_dsq, p, park_dsq(cpu), 0) {
		if (h->park_goes && park_looked(h, p->scx.dsq_vtime)) {
			if (h->skip++ >= SPARE_PARK_SKIP)
				break;
			continue;
		}
		tail = !h->park_left;
		if (tail || h->scan++ >= SPARE_PARK_SCAN)
			break;
		park_reaches(h, p->scx.dsq_vtime);
		/* A crowd of strays of one VM asks its servers once. */
		vm = task_vm(p);
		vm_id = vm ? vm->id : 0;
		net = vm_id ? park_net(h, p, vm_id) : PARK_OTHER;
		if (vm_id && vm_id == h->dry_vm && !net)
			continue;
		limit = task_limit(p);
		if (limit && limit == h->dry && !net)
			continue;
		t = limit ? task_ctx(p) : NULL;
		if (t && !t->grant_ns) {
			t->grant_ns = net ? task_take(p, limit, now) : limit_take(limit, now);
			t->grant_of = limit;
		}
		if (!t || t->grant_ns) {
			scx_bpf_dsq_move_vtime(BPF_FOR_EACH_ITER, p, host_dsq(cpu), 0);
			h->queued = 1;
			h->let_out = 1;
			h->park_same--;
			h->same--;
			continue;
		}
		at = task_due(p, limit, now) ?: now + SPARE_GRANT_MIN_NS;
		if (!h->park_due_ns || spare_before(at, h->park_due_ns))
			h->park_due_ns = at;
		/* What a worker waits for is its own (GUARD-2). */
		if (net == PARK_WORKER)
			continue;
		h->dry = limit;
		h->dry_vm = vm_id;
		h->dry_net = net;	/* its network threads get nothing in advance either */
	}
	park_look_ends(h, cpu, tail, now);
	return 0;
}

#endif
