/* SPDX-License-Identifier: GPL-2.0 */
/*
 * edf.h - an indexed binary heap of servers, smallest key first (rule CBS-5).
 *
 * One CPU has one for its ready servers (key: deadline), one for its throttled ones (key: replenishment) and one for
 * those that wait for a provider (key: arrival). Every operation takes O(log SPARE_SLOTS) steps.
 *
 * Positions start at 1 so that a zeroed structure is an empty heap. Plain C for BPF and C++; the caller excludes others
 * (in the class: the CPU's run-queue lock). Keys compare wrap-safe.
 */
#ifndef SCHED_SPARE_EDF_H
#define SCHED_SPARE_EDF_H

#include "abi.h"
#include "cbs.h"

#define SPARE_EDF_DEPTH 9	/* levels of a heap of SPARE_SLOTS entries, plus one */

struct spare_edf_node {
	__u64 key;
	__u64 slot;
};

struct spare_edf {
	__u32 n;
	__u32 scratch;				/* spare_edf_forget() */
	struct spare_edf_node node[256];	/* 1 .. n; 256 so that a masked index is always inside */
	__u8 pos[256];				/* of each slot; 0: absent */
};

SPARE_STATIC_ASSERT(SPARE_SLOTS < 256, "positions are bytes");

/* The verifier follows a mask, not a comparison that the compiler may drop. */
#define SPARE_EDF_IDX(i) ((i) & 255)

#ifdef __BPF__
#define SPARE_EDF_LOOP(i) bpf_for(i, 0, SPARE_EDF_DEPTH)
#else
#define SPARE_EDF_LOOP(i) for ((i) = 0; (i) < SPARE_EDF_DEPTH; (i)++)
#endif

/*
 * A position through memory: the verifier forgets which of its bits it knew. Otherwise every way down the heap is a state
 * of its own and the loops do not converge ("The sequence of 8193 jumps is too complex").
 */
static inline __u32 spare_edf_forget(struct spare_edf *h, __u32 i)
{
	*(volatile __u32 *)&h->scratch = i;
	return SPARE_EDF_IDX(*(volatile __u32 *)&h->scratch);
}

static inline void spare_edf_place(struct spare_edf *h, __u32 i, __u64 key, __u64 slot)
{
	h->node[SPARE_EDF_IDX(i)].key = key;
	h->node[SPARE_EDF_IDX(i)].slot = slot;
	h->pos[SPARE_EDF_IDX(slot)] = (__u8)i;
}

/* Move (key, slot) from position i to where it belongs. */
static inline void spare_edf_sift(struct spare_edf *h, __u32 i, __u64 key, __u64 slot)
{
	__u32 step, n = h->n;
	struct spare_edf_node up, kid, other;

	i = spare_edf_forget(h, i);
	SPARE_EDF_LOOP(step) {
		if (i <= 1)
			break;
		up = h->node[SPARE_EDF_IDX(i / 2)];
		if (!spare_before(key, up.key))
			break;
		spare_edf_place(h, i, up.key, up.slot);
		i = spare_edf_forget(h, i / 2);
	}
	SPARE_EDF_LOOP(step) {
		__u32 k = i * 2;

		if (k > n)
			break;
		kid = h->node[SPARE_EDF_IDX(k)];
		if (k < n) {
			other = h->node[SPARE_EDF_IDX(k + 1)];
			if (spare_before(other.key, kid.key)) {
				kid = other;
				k++;
			}
		}
		if (!spare_before(kid.key, key))
			break;
		spare_edf_place(h, i, kid.key, kid.slot);
		i = spare_edf_forget(h, k);
	}
	spare_edf_place(h, i, key, slot);
}

static inline int spare_edf_has(const struct spare_edf *h, __u32 slot)
{
	return h->pos[SPARE_EDF_IDX(slot)] != 0;
}

/* Insert slot, or move it when it is there already. */
static inline void spare_edf_put(struct spare_edf *h, __u32 slot, __u64 key)
{
	__u32 i = h->pos[SPARE_EDF_IDX(slot)];

	if (slot >= SPARE_SLOTS)
		return;
	if (!i) {
		if (h->n >= SPARE_SLOTS)
			return;
		i = ++h->n;
	}
	spare_edf_sift(h, i, key, slot);
}

/* Remove slot; nothing happens when it is not there. */
static inline void spare_edf_del(struct spare_edf *h, __u32 slot)
{
	__u32 i = h->pos[SPARE_EDF_IDX(slot)];
	struct spare_edf_node last;

	if (!i || !h->n)
		return;
	h->pos[SPARE_EDF_IDX(slot)] = 0;
	last = h->node[SPARE_EDF_IDX(h->n)];
	h->n--;
	if (i <= h->n)
		spare_edf_sift(h, i, last.key, last.slot);
}

/* Slot with the smallest key, its key in *key; SPARE_NO_SLOT when empty. */
static inline __u32 spare_edf_top(const struct spare_edf *h, __u64 *key)
{
	if (!h->n)
		return SPARE_NO_SLOT;
	*key = h->node[1].key;
	return (__u32)h->node[1].slot;
}

#endif /* SCHED_SPARE_EDF_H */
