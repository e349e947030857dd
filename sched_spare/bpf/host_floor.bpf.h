/* SPDX-License-Identifier: GPL-2.0 */
/*
 * host_floor.bpf.h - the host's share when others take the CPU from the reservations, too (CBS-9).
 *
 * Admission leaves the host a tenth of each CPU (host_share_ppm), and EDF gives it that at least every 2 * 0.9 * P, so within 2 s. Not so
 * when an endless real-time thread takes 95 % of the CPU: what Linux leaves to lower classes then, 50 ms in a second, a VM with
 * 90/100 ms takes whole, and the host's threads wait until the watchdog ends the class. So a host that has waited for longer than
 * admission allows gets its share of what the servers get: for each ns that they run it is owed share / (1 - share), and it takes that in a
 * turn before them.
 */
#ifndef SPARE_HOST_FLOOR_BPF_H
#define SPARE_HOST_FLOOR_BPF_H

#include "spare.bpf.h"
#include <sched_spare/abi.h>
#include <sched_spare/cbs.h>
#include "host_cpu.bpf.h"

enum floor_const : __u64 {
	SPARE_FLOOR_WAIT_NS	= 2ULL * SPARE_PERIOD_MAX_US * 1000,	/* nobody waits so long but for other classes */
	SPARE_FLOOR_MIN_NS	= 500000ULL,	/* shorter turns are all switching, */
	SPARE_FLOOR_MAX_NS	= 10000000ULL,	/* longer ones cost the servers deadlines */
};

CLASS_VAR u64 host_floor_ns;	/* for user space: what the host ran in such turns */

/* The host runs without anybody's favour, or nobody of it waits. */
static __always_inline void host_floor_reset(struct host_cpu *h, u64 now)
{
	h->wait_ns = now;
	h->owed_ns = 0;
	h->floor_end_ns = 0;
}

/* A server has run for delta ns. */
static __always_inline void host_floor_owe(struct host_cpu *h, u64 delta)
{
	if (!h->wait_ns)
		return;
	h->owed_ns += delta * host_share_ppm / (SPARE_PPM - host_share_ppm);
	if (h->owed_ns > SPARE_FLOOR_MAX_NS)
		h->owed_ns = SPARE_FLOOR_MAX_NS;
}

/* Somebody of it waits for a turn (but for pinned kernel threads). now: CLOCK_MONOTONIC. */
static __always_inline bool host_waits(const struct host_cpu *h, u64 now)
{
	return h->queued || (h->park_ns && !spare_before(now, h->park_ns));
}

/* Does the host go before the servers now? prev_host: a host task runs. */
static __always_inline bool host_floor_due(struct host_cpu *h, bool prev_host, u64 now)
{
	if (!prev_host && !host_waits(h, now)) {
		host_floor_reset(h, 0);
		return false;
	}
	if (h->floor_end_ns) {
		if (spare_before(now, h->floor_end_ns))
			return true;
		h->floor_end_ns = 0;
	}
	if (!h->wait_ns)
		h->wait_ns = now;
	if (now - h->wait_ns < SPARE_FLOOR_WAIT_NS || h->owed_ns < SPARE_FLOOR_MIN_NS)
		return false;
	h->floor_end_ns = now + h->owed_ns;
	h->owed_ns = 0;
	return true;
}

/* The timer ends the turn. */
static __always_inline void host_floor_limit(struct host_cpu *h)
{
	if (!h->grant_end_ns || spare_before(h->floor_end_ns, h->grant_end_ns))
		h->grant_end_ns = h->floor_end_ns;
}

/* A host task begins to run on a CPU with servers. Returns whether in such a turn. */
static __always_inline bool host_floor_runs(struct host_cpu *h, u64 now)
{
	h->floor = h->floor_end_ns && spare_before(now, h->floor_end_ns);
	if (h->floor)
		host_floor_limit(h);
	else
		host_floor_reset(h, now);
	return h->floor;
}

/* It has run for `used` ns. */
static __always_inline void host_floor_stops(struct host_cpu *h, u64 used, u64 now)
{
	if (h->floor)
		__sync_fetch_and_add(&host_floor_ns, used);
	else
		host_floor_reset(h, now);
	h->floor = 0;
}

#endif
