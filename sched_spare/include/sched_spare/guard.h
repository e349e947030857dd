/* SPDX-License-Identifier: GPL-2.0 */
/*
 * guard.h - a limit for what network work for a VM may use of CPU (GUARD-1).
 *
 * After ShareGuard (Gupta, Cherkasova, Gardner, Vahdat, Middleware 2006, section 5), whose limit is kept over seconds by blackouts as long; this one is a
 * budget Q in every period P, 100 ms at most. Work is charged where it is done, what was overrun the next periods pay. So over any
 * window W it has at most Q (W / P + 1), and once what can be overrun: a turn of a worker on each CPU, and a Q by packets to the VM. While nothing is left
 * vhost workers wait (lossless), where there is none packets from the VM are dropped, and packets to it once that debt is a Q. (Not before: a VM that sends needs
 * the acknowledgements.)
 *
 * What cannot be held back (softirqs, of packets that are dropped, too) is charged as well, but more than SPARE_GUARD_BACK_NS of waiting is never owed for it:
 * when a flood ends, its victim answers again that soon, and while it lasts one worker has a turn as often. What workers run is never forgiven.
 *
 * Everything here but spare_guard_configure() may be called on any CPU at the same time. Plain C for BPF, the kernel and C++; units as in cbs.h, 50 us <= Q <= P <= 100 ms.
 */
#ifndef SCHED_SPARE_GUARD_H
#define SCHED_SPARE_GUARD_H

#include "bucket.h"

#define SPARE_GUARD_BACK_NS	100000000ULL
/* What a worker runs at once: half of Q, within these. (So its overrun leaves something of the next Q.) */
#define SPARE_GUARD_TURN_NS	200000ULL
#define SPARE_GUARD_TURN_MIN_NS	50000ULL
#define SPARE_GUARD_ANEW_NS	1000000000ULL	/* the meter's number began anew if it is so much less than before */
#define SPARE_GUARD_PASSES	16U		/* needed packets of a kind that pass with nothing left in SPARE_GUARD_BACK_NS */

/* Q and P of one moment; both 0: no limit. */
struct spare_guard_limit {
	__u64 runtime_ns, period_ns;
};

static inline struct spare_guard_limit spare_guard_read(const struct spare_guard *g)
{
	__u64 cfg = *(const volatile __u64 *)&g->cfg;
	struct spare_guard_limit l = { (cfg >> 32) * SPARE_NS_PER_US, (cfg & 0xffffffffULL) * SPARE_NS_PER_US };

	return l;
}

/* The least that softirqs may bring it to. */
static inline __s64 spare_guard_floor(const struct spare_guard_limit *l)
{
	return l->period_ns ? -(__s64)(SPARE_GUARD_BACK_NS / l->period_ns * l->runtime_ns) : 0;
}

static inline __u64 spare_guard_turn(const struct spare_guard *g)
{
	struct spare_guard_limit l = spare_guard_read(g);
	__u64 turn = l.runtime_ns / 2;

	if (turn > SPARE_GUARD_TURN_NS)
		return SPARE_GUARD_TURN_NS;
	return turn < SPARE_GUARD_TURN_MIN_NS ? SPARE_GUARD_TURN_MIN_NS : turn;
}

/* A limit, or another one, or none (0) from now on. Rewriting it mints no budget, nor does a smaller one make waiting longer. One writer at a time. */
static inline void spare_guard_configure(struct spare_guard *g, __u64 cfg, __u64 now)
{
	struct spare_guard_limit l;
	__u64 was = g->cfg;

	if (!was)
		g->seen_ns = 0;	/* what the meter has counted meanwhile is nobody's */
	*(volatile __u64 *)&g->cfg = cfg;
	l = spare_guard_read(g);
	if (!was || g->left_ns > (__s64)l.runtime_ns)
		g->left_ns = (__s64)l.runtime_ns;
	if (g->left_ns < spare_guard_floor(&l))
		g->left_ns = spare_guard_floor(&l);
	if (!was || spare_before(now + l.period_ns, g->refill_ns))
		g->refill_ns = now + l.period_ns;
}

/* So much work has been done. Returns what is left. */
static inline __s64 spare_guard_charge(struct spare_guard *g, __u64 ns)
{
	__sync_fetch_and_add(&g->used_ns, ns);
	return __sync_fetch_and_add(&g->left_ns, -(__s64)ns) - (__s64)ns;
}

/* The meter has counted total_ns so far, which only grows: what is new of it is charged, once. What it had counted before the first look is nobody's. */
static inline void spare_guard_count(struct spare_guard *g, __u64 total_ns)
{
	__u64 seen = *(volatile __u64 *)&g->seen_ns, ns, at;
	struct spare_guard_limit l = spare_guard_read(g);
	__s64 over;

	if (seen && total_ns <= seen && seen - total_ns < SPARE_GUARD_ANEW_NS)
		return;	/* another CPU has read a later one */
	if (__sync_val_compare_and_swap(&g->seen_ns, seen, total_ns) != seen || !seen || !l.period_ns)
		return;	/* (Another one has just charged this: the rest next time.) */
	ns = total_ns > seen ? total_ns - seen : total_ns;
	at = *(volatile __u64 *)&g->refill_ns;
	if (*(volatile __u64 *)&g->soft_at_ns != at) {
		*(volatile __u64 *)&g->soft_at_ns = at;
		*(volatile __u64 *)&g->soft_ns = 0;
	}
	__sync_fetch_and_add(&g->soft_ns, ns);
	over = spare_guard_floor(&l) - spare_guard_charge(g, ns);
	/* (No more than it has taken itself: another one may be at the same.) */
	if (over > (__s64)ns)
		over = (__s64)ns;
	if (over > 0)
		__sync_fetch_and_add(&g->left_ns, over);
}

static inline __s64 spare_guard_left(struct spare_guard *g, __u64 now)
{
	struct spare_guard_limit l = spare_guard_read(g);

	if (l.period_ns)
		spare_bucket_refill(&g->left_ns, &g->refill_ns, l.runtime_ns, l.period_ns, (__s64)l.runtime_ns, now);
	return *(volatile __s64 *)&g->left_ns;
}

/* Until when a worker has to wait; 0: it need not. It asks again SPARE_GUARD_BACK_NS later at the latest. left: spare_guard_left(), as below. */
static inline __u64 spare_guard_due(const struct spare_guard *g, __s64 left, __u64 now)
{
	struct spare_guard_limit l = spare_guard_read(g);
	__u64 due;

	if (left > 0 || !l.runtime_ns)
		return 0;
	due = *(const volatile __u64 *)&g->refill_ns + (__u64)-left / l.runtime_ns * l.period_ns;
	return spare_before(now + SPARE_GUARD_BACK_NS, due) ? now + SPARE_GUARD_BACK_NS : due;
}

/* What a worker that begins to run now may run at least: a turn while something is left; with nothing, one worker in each SPARE_GUARD_BACK_NS. */
static inline __u64 spare_guard_may(struct spare_guard *g, __s64 left, __u64 now)
{
	__u64 next = *(volatile __u64 *)&g->turn_ns;

	if (left > 0)
		return spare_guard_turn(g);
	if (spare_before(now, next) || __sync_val_compare_and_swap(&g->turn_ns, next, now + SPARE_GUARD_BACK_NS) != next)
		return 0;
	return spare_guard_turn(g);
}

/* A worker waits: packets to the VM leave it half of what there is (spare_guard_spent). */
static inline void spare_guard_hold(struct spare_guard *g)
{
	__sync_fetch_and_add(&g->held, 1);
	*(volatile __u64 *)&g->held_at_ns = *(volatile __u64 *)&g->refill_ns;
}

/*
 * Nothing is left for a packet in this direction. To the VM: a Q beyond that, as above; or, of a Q, softirqs have had half in this period, and in it or the
 * last one a worker had to wait. Else a flood would have it all, and what it pays for would be lost in the tap's ring.
 */
static inline int spare_guard_spent(const struct spare_guard *g, __u32 direction, __s64 left)
{
	struct spare_guard_limit l = spare_guard_read(g);
	__u64 at = *(const volatile __u64 *)&g->refill_ns;

	if (direction != SPARE_RX)
		return left <= 0;
	if (left <= -(__s64)l.runtime_ns)
		return 1;
	return *(const volatile __u64 *)&g->soft_at_ns == at && *(const volatile __u64 *)&g->soft_ns > l.runtime_ns / 2 &&
	       at - *(const volatile __u64 *)&g->held_at_ns <= l.period_ns;
}

/* The first time in a period that something waits or is dropped. */
static inline int spare_guard_news(struct spare_guard *g)
{
	__u64 at = *(volatile __u64 *)&g->refill_ns, told = *(volatile __u64 *)&g->told_ns;

	return told != at && __sync_val_compare_and_swap(&g->told_ns, told, at) == told;
}

/* Nothing is left: may a needed packet pass nevertheless? */
static inline int spare_guard_passes(struct spare_guard *g, __u32 direction, __u32 needed, __u64 now)
{
	__u64 until = *(volatile __u64 *)&g->pass_ns;
	__u32 *n;

	if (needed != SPARE_NEEDED_NETWORK && needed != SPARE_NEEDED_OPERATOR)
		return 0;
	if (!spare_before(now, until) && __sync_val_compare_and_swap(&g->pass_ns, until, now + SPARE_GUARD_BACK_NS) == until)
		__builtin_memset(g->passes, 0, sizeof(g->passes));
	n = &g->passes[direction & 1][needed - SPARE_NEEDED_NETWORK];
	return *(volatile __u32 *)n < SPARE_GUARD_PASSES && __sync_fetch_and_add(n, 1) < SPARE_GUARD_PASSES;
}

#endif /* SCHED_SPARE_GUARD_H */
