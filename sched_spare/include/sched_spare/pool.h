/* SPDX-License-Identifier: GPL-2.0 */
/*
 * pool.h - what a mark gets of a pool that many VMs share (SPARE-5), and what a VM with budget left may bring forward
 * (SPARE-7).
 *
 * A packet counts once in each of
 *   blocked  it found every provider of its list taken
 *   denied   its VM's own budget was back before a provider was free; in loss mode: it was blocked
 * and a blocked one that gets a provider in time was delayed, not denied.
 */
#ifndef SCHED_SPARE_POOL_H
#define SCHED_SPARE_POOL_H

#include "abi.h"
#include "cbs.h"

/*
 * How long an unclaimed provider may be away: 0 when its bandwidth is fresh, so that waking it now gives (Qs, t + Ps) and first
 * service by t + Ps - Qs (CBS-2); else until the deadline of what it has left, or a period later when it has nothing left. Of several
 * unclaimed ones the least is claimed, the first in the list of equals: one that has just been used is not free yet.
 */
static inline __u64 spare_pool_delay(const struct spare_cbs *s, __u64 now)
{
	if (!spare_before(now, s->d_ns))
		return 0;
	if (s->q_ns <= 0)
		return s->d_ns - now + s->period_ns;
	return (__u64)s->q_ns * s->period_ns > (s->d_ns - now) * s->runtime_ns ? 0 : s->d_ns - now;
}

/*
 * Does a packet wait that may still ask? rx_seq: packets seen, rx_served: those that had first service, rx_lost: those seen
 * when one was last denied. What was denied asks no more; the next packet does. All three count up and may wrap.
 */
static inline int spare_pool_due(__u64 rx_seq, __u64 rx_served, __u64 rx_lost)
{
	return rx_seq != rx_served && rx_seq != rx_lost;
}

/* The VM's own budget is back. lent: the mark has a provider. Returns 1 when the packet is denied. */
static inline int spare_pool_denied(const struct spare_mark *m, int lent)
{
	return m->phase == SPARE_MARK_WOKEN && !lent;
}

/*
 * The mark ended before the vCPU had run for the packets that the network thread was served for. Returns 1 when they are denied
 * now, 0 when they were counted already: the last that was denied is the last that was served.
 */
static inline int spare_pool_denied_half(__u64 rx_served, __u64 rx_denied)
{
	return rx_served != rx_denied;
}

/*
 * SPARE-7: a READY server whose deadline is farther than Ps may run a chunk of its own budget under the deadline t + Ps, at
 * most once per Ps. Returns 1 when it may at now; last_ns: when it last did (needs one in the past to begin with).
 */
static inline int spare_far(const struct spare_cbs *s, __u64 last_ns, __u64 ps_ns, __u64 now)
{
	return s->q_ns > 0 && spare_before(now + ps_ns, s->d_ns) && now - last_ns >= ps_ns;
}

/*
 * The chunk c = min(q, floor(Ps * Q / P)): in [t, t + Ps] it demands no more than the server's bandwidth, and the rest of q
 * keeps d, so the demand in any interval stays under what was admitted (SPARE-7). Ps * Q < 2^60.
 */
static inline __u64 spare_far_chunk(const struct spare_cbs *s, __u64 ps_ns)
{
	__u64 chunk = ps_ns * s->runtime_ns / s->period_ns;

	if (s->q_ns <= 0)
		return 0;
	return (__u64)s->q_ns < chunk ? (__u64)s->q_ns : chunk;
}

/* Its deadline, min(d, t + Ps). */
static inline __u64 spare_far_deadline(const struct spare_cbs *s, __u64 ps_ns, __u64 now)
{
	return spare_before(now + ps_ns, s->d_ns) ? now + ps_ns : s->d_ns;
}

/* Begin a chunk at now if it may. Returns 1 when one begins: the server's deadline is nearer. */
static inline int spare_far_begin(struct spare_chunk *f, const struct spare_cbs *s, __u64 ps_ns, __u64 now)
{
	__s64 chunk = (__s64)spare_far_chunk(s, ps_ns);

	if (f->left_ns > 0 || chunk <= 0 || !spare_far(s, f->last_ns, ps_ns, now))
		return 0;
	f->left_ns = chunk;
	f->d_ns = spare_far_deadline(s, ps_ns, now);
	f->last_ns = now;
	return 1;
}

/* Own budget is charged to the chunk, too. Returns 1 when that ends it: the server's deadline is d again. */
static inline int spare_far_charge(struct spare_chunk *f, __u64 delta_ns)
{
	if (f->left_ns <= 0)
		return 0;
	f->left_ns -= (__s64)delta_ns;
	return f->left_ns <= 0;
}

/* The deadline by which the server competes. */
static inline __u64 spare_deadline(const struct spare_chunk *f, const struct spare_cbs *s)
{
	return f->left_ns > 0 ? f->d_ns : s->d_ns;
}

#endif /* SCHED_SPARE_POOL_H */
