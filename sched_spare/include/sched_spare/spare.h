/* SPDX-License-Identifier: GPL-2.0 */
/*
 * spare.h - the life of a packet's mark on one server (rules SPARE-3, SPARE-4, SPARE-8).
 *
 *            packet found the server THROTTLED          network thread wakes
 *   UNMARKED ------------------------------> ARRIVED ------------------------> WOKEN
 *      ^  ^                                     |                                | first run of the network thread
 *      |  '---- replenished (expired if > Ps) --'                                v
 *      '--- grant used, chances used, or replenished and the vCPU has run -- SERVED
 *
 * A mark is level-triggered: "a packet waits" is vm.rx_seq != server.rx_served, asked whenever a server becomes
 * THROTTLED, whenever a thread wakes in it and whenever its CPU is kicked, so that no order of events loses one
 * (SPARE-8). In WOKEN and SERVED the server's threads are eligible in the provider it has claimed; in ARRIVED only the
 * burning vCPU could use it, so nothing is borrowed and no chance consumed.
 */
#ifndef SCHED_SPARE_SPARE_H
#define SCHED_SPARE_SPARE_H

#include "abi.h"
#include "cbs.h"

/* How the class tells first service from none. */
#define SPARE_SERVICE_NS	100000ULL	/* what a vCPU needs to see the packet that its network thread left */
#define SPARE_DRAINED_NS	50000ULL	/* a younger packet may still be on its way to the network thread that goes to sleep */

/* May the server's threads run in a provider now? */
static inline int spare_mark_eligible(const struct spare_mark *m)
{
	return m->phase == SPARE_MARK_WOKEN || m->phase == SPARE_MARK_SERVED;
}

static inline void spare_mark_clear(struct spare_mark *m)
{
	m->phase = SPARE_UNMARKED;
	m->chances = 0;
	m->used_ns = 0;
}

/* A packet waits while the server is THROTTLED. since: when it came. */
static inline void spare_mark_arrive(struct spare_mark *m, __u64 since_ns)
{
	if (m->phase != SPARE_UNMARKED)
		return;
	spare_mark_clear(m);
	m->phase = SPARE_MARK_ARRIVED;
	m->since_ns = since_ns;
}

/* The network thread is runnable and a packet waits for it: a new grant begins. */
static inline void spare_mark_wake(struct spare_mark *m, __u64 since_ns)
{
	if (m->phase == SPARE_MARK_WOKEN)
		return;
	if (m->phase != SPARE_MARK_ARRIVED)
		m->since_ns = since_ns;
	m->phase = SPARE_MARK_WOKEN;
	m->chances = 0;
	m->used_ns = 0;
}

/* First service was given: the network thread runs; the vCPU it kicks may follow under the same grant. */
static inline void spare_mark_serve(struct spare_mark *m)
{
	m->phase = SPARE_MARK_SERVED;
}

/*
 * The budget ends, and the packet that the network thread picked up last has not had its grant, be it of the VM's own budget: the rest
 * is lent (SPARE-4). Without that a packet shortly before the end of the budget would have its first service, and its answer a period
 * later.
 */
static inline void spare_mark_resume(struct spare_mark *m, __u64 since_ns, __u64 grant_ns, __u64 owed_ns)
{
	spare_mark_wake(m, since_ns);
	spare_mark_serve(m);
	if (owed_ns < grant_ns)
		m->used_ns = grant_ns - owed_ns;
}

/* The vCPU has run for delta_ns. Returns what it is owed then. */
static inline __u64 spare_owed_left(__u64 owed_ns, __u64 delta_ns)
{
	return owed_ns > delta_ns ? owed_ns - delta_ns : 0;
}

/*
 * The server has budget of its own. Does its mark go on? Only with a provider, until both halves of first service are given: then
 * both servers may give it, whichever has the earlier deadline (SPARE-4). net_waits: the network thread is here still, and has yet to run;
 * svc_pending: the vCPU has.
 */
static inline int spare_mark_outlasts(const struct spare_mark *m, int net_waits, int svc_pending, int lent)
{
	return lent && ((m->phase == SPARE_MARK_WOKEN && net_waits) || (m->phase == SPARE_MARK_SERVED && svc_pending));
}

/*
 * Borrowed time was used. Returns 1 when that ends the mark: after first service when the grant is used; whatever the
 * phase, when the chances are (SPARE-4). chances 0: not counted.
 */
static inline int spare_mark_charge(const struct spare_mark *m, __u64 grant_ns, __u32 chances)
{
	if (chances && m->chances >= chances)
		return 1;
	return m->phase == SPARE_MARK_SERVED && m->used_ns >= grant_ns;
}

/* Borrowed time left under the mark before the class must look again. */
static inline __u64 spare_mark_left(const struct spare_mark *m, __u64 grant_ns)
{
	return m->used_ns < grant_ns ? grant_ns - m->used_ns : 0;
}

/*
 * SPARE-6: account delta_ns of borrowed time in the window that contains now; returns 1 while the VM may gain more.
 * What exceeds a window's gain (a timer that came late) is the next windows', so that the sum over k windows stays at or
 * under k * gain. gain_ns 0: unbounded. Several CPUs at once: nothing that is added gets lost, one of them begins the window, and where
 * the others keep it from that it is for the next call.
 */
static inline int spare_gain(__u64 *window_start_ns, __u64 *used_ns, __u64 window_ns, __u64 gain_ns, __u64 delta_ns,
			     __u64 now)
{
	__u64 start, passed, used, i;

	if (!gain_ns)
		return 1;
	used = __sync_fetch_and_add(used_ns, delta_ns) + delta_ns;
	start = *(volatile __u64 *)window_start_ns;
	passed = spare_before(start, now) ? (now - start) / window_ns : 0;
	if (passed) {
		if (__sync_val_compare_and_swap(window_start_ns, start, now) != start)
			return 1;	/* another CPU begins the window, and has not taken off what was used before */
		/* What was used before this window; delta_ns is this one's. */
		for (i = 0; i < 4; i++) {
			__u64 old = used - delta_ns, left = passed <= old / gain_ns ? old - passed * gain_ns : 0;
			__u64 seen = __sync_val_compare_and_swap(used_ns, used, left + delta_ns);

			if (seen == used) {
				used = left + delta_ns;
				break;
			}
			used = seen;
		}
	}
	return used < gain_ns;
}

/*
 * SPARE-6: s borrowed delta_ns until now. Returns 1 while it may borrow: within the gain of its window and, in pay-back mode,
 * within the debt that it will pay in full (delta_ns is not yet part of it; the caller adds it).
 */
static inline int spare_may_borrow(struct spare_vm *vm, const struct spare_server *s, __u64 delta_ns, __u64 now)
{
	int gain = spare_gain(&vm->window_start_ns, &vm->window_used_ns, vm->window_ns, vm->gain_ns, delta_ns, now);

	return gain && (!(vm->flags & SPARE_VM_PAYBACK) || spare_cbs_debt_room(&s->cbs, s->debt_ns + delta_ns));
}

/* How long s may borrow before spare_may_borrow() must be asked again, at most most_ns. */
static inline __u64 spare_borrow_left(const struct spare_vm *vm, const struct spare_server *s, __u64 most_ns)
{
	__u64 left = most_ns, more;

	if (vm->gain_ns) {
		more = vm->window_used_ns < vm->gain_ns ? vm->gain_ns - vm->window_used_ns : 0;
		left = more < left ? more : left;
	}
	if (vm->flags & SPARE_VM_PAYBACK) {
		more = spare_cbs_debt_room(&s->cbs, s->debt_ns);
		left = more < left ? more : left;
	}
	return left;
}

/* Bucket of the first-service histogram: less than 64 us << i. */
static inline __u32 spare_lat_bucket(__u64 lat_ns)
{
	__u32 i;

	for (i = 0; i < SPARE_LAT_BUCKETS - 1; i++)
		if (lat_ns < (64 * SPARE_NS_PER_US) << i)
			break;
	return i;
}

#endif /* SCHED_SPARE_SPARE_H */
