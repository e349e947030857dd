/* SPDX-License-Identifier: GPL-2.0 */
/*
 * bucket.h - CPU time that comes back by periods, and that any CPU may take without a lock (CBS-9, GUARD-1).
 *
 * Plain C for BPF, the kernel and C++; units as in cbs.h.
 */
#ifndef SCHED_SPARE_BUCKET_H
#define SCHED_SPARE_BUCKET_H

#include "cbs.h"

#define SPARE_BUCKET_PERIODS 1000ULL	/* slept through that count: more fill it all the same, and the product stays small */

/*
 * The refills due by now, of runtime_ns each period_ns, up to most_ns: what was overrun is made good first. *refill_ns is when the next one is due. Whoever is
 * first gives them; the others see them a moment later.
 */
static inline void spare_bucket_refill(__s64 *left_ns, __u64 *refill_ns, __u64 runtime_ns, __u64 period_ns, __s64 most_ns, __u64 now)
{
	__u64 at = *refill_ns, n;
	__s64 left;

	if (spare_before(now, at))
		return;
	n = (now - at) / period_ns + 1;
	if (__sync_val_compare_and_swap(refill_ns, at, at + n * period_ns) != at)
		return;
	if (n > SPARE_BUCKET_PERIODS)
		n = SPARE_BUCKET_PERIODS;
	left = __sync_fetch_and_add(left_ns, (__s64)(n * runtime_ns)) + (__s64)(n * runtime_ns);
	/* (No more than it has given itself: another one may be at the same. What came back beyond the brim is used first.) */
	left -= most_ns;
	if (left > (__s64)(n * runtime_ns))
		left = (__s64)(n * runtime_ns);
	if (left > 0)
		__sync_fetch_and_add(left_ns, -left);
}

#endif /* SCHED_SPARE_BUCKET_H */
