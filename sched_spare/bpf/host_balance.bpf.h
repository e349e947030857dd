/* SPDX-License-Identifier: GPL-2.0 */
/*
 * host_balance.bpf.h - host tasks go where there is CPU for them, and none waits too long (CBS-9).
 *
 * - A CPU with nothing to do takes from another's queue.
 * - A CPU whose virtual time goes clearly faster than another's has fewer (or lighter) tasks, or more time for them: servers on the
 *   other may take most of it. It takes the first one over, at most every 32 ms. So three equal tasks on two CPUs go round and
 *   get two thirds of a CPU each.
 * - The valve. The class's watchdog ends it when any thread waits for 30 s. By weights (1 against 10 000), behind a small
 *   cpu.max or with a crowd, a host task may well have to. Once a second a CPU looks through its queues, and who has waited for
 *   ten seconds runs next, shortly, and pays.
 */
#ifndef SPARE_HOST_BALANCE_BPF_H
#define SPARE_HOST_BALANCE_BPF_H

#include "spare.bpf.h"
#include <sched_spare/cbs.h>
#include "kfuncs.bpf.h"
#include "host_cpu.bpf.h"
#include "cpu.bpf.h"
#include "task.bpf.h"
#include "host_group.bpf.h"
#include "host_limit.bpf.h"
#include "stray.bpf.h"

enum balance_const : __u64 {
	SPARE_BALANCE_NS	= 32ULL * 1000000,
	SPARE_BALANCE_STALE_NS	= 8 * SPARE_BALANCE_NS,
	SPARE_STEAL_SCAN	= 64,		/* CPUs looked at */
	SPARE_BALANCE_SCAN	= 4,
	SPARE_VALVE_NS		= 1000000000ULL,
	SPARE_VALVE_SCANS	= 10,
	SPARE_VALVE_WAIT_NS	= SPARE_VALVE_SCANS * SPARE_VALVE_NS,	/* who has waited for so long */
	SPARE_VALVE_SLICE_NS	= 150000ULL,	/* 3000 threads in 10 s use 0.45 s: of a tenth of a CPU, half; of more threads each shorter, */
	SPARE_VALVE_SLICE_MIN_NS= 50000ULL,
	SPARE_VALVE_CROWD	= 6000,
	SPARE_VALVE_GRANT_NS	= 50000ULL,	/* against cpu.max: 300 threads in 10 s use 15 ms in advance */
	SPARE_VALVE_SCAN	= 1 << 14,	/* looked at in one scan, */
	SPARE_VALVE_TASKS	= 1024,		/* and let before the others: in a second a tenth of a CPU serves 600; of a crowd an eighth */
	SPARE_VALVE_DEBT	= 8,		/* quotas that its turns may cost */
};

static __always_inline bool host_steal_from(u32 cpu, u32 other, u32 first)
{
	struct cpu_ctx *c = cpu_ctx(other);

	return other != cpu && c && c->host.queued && take_from(host_dsq(other), cpu, first);
}

/*
 * Nothing to do here: take from another CPU's queue; from one that has asked for that, else of those that follow, which share caches most
 * likely.
 */
__noinline int host_steal(struct host_cpu *h __arg_nonnull, u32 cpu)
{
	u32 nr = cpus_end > cpu ? cpus_end : cpu + 1, asked = h->asked;
	int i;

	if (asked) {
		h->asked = 0;
		if (host_steal_from(cpu, asked - 1, SPARE_TAKE_ASKED))
			return true;
	}
	bpf_for(i, 1, SPARE_STEAL_SCAN) {
		if ((u32)i >= nr)
			break;
		if (host_steal_from(cpu, (cpu + i) % nr, SPARE_TAKE_SCAN))
			return true;
	}
	return false;
}

/* Take over from a CPU whose virtual time is slower by a quarter or more. Returns whether it has. */
__noinline int host_balance(struct host_cpu *h __arg_nonnull, u32 cpu, u64 now)
{
	u32 nr = nr_cpus ?: 1, other;
	u64 since = now - h->bal_ns;
	struct cpu_ctx *c;
	int i;

	if (since < SPARE_BALANCE_NS)
		return false;
	h->speed = since < SPARE_BALANCE_STALE_NS ? ((h->vnow - h->bal_v) << 10) / since : 0;
	h->bal_ns = now;
	h->bal_v = h->vnow;
	if (!h->speed)
		return false;
	bpf_for(i, 0, SPARE_BALANCE_SCAN) {
		if ((u32)i >= nr)
			break;
		other = (cpu + h->bal_next++) % nr;
		c = cpu_ctx(other);
		if (c && other != cpu && c->host.queued && now - c->host.bal_ns < SPARE_BALANCE_STALE_NS &&
		    c->host.speed + c->host.speed / 4 < h->speed)
			return host_steal_from(cpu, other, SPARE_TAKE_SCAN);
	}
	return false;
}

/* p has waited since before `stamp` (jiffies). */
static __always_inline bool waits_since(const struct task_struct *p, u64 stamp)
{
	return (s64)(p->scx.runnable_at - stamp) < 0;
}

/* So many threads of a queue have a turn after a scan, */
static __always_inline u32 valve_tasks(u32 queued)
{
	return queued / 8 > SPARE_VALVE_TASKS ? queued / 8 : SPARE_VALVE_TASKS;
}

/* of this length: what the CPU has for them serves them all before the watchdog looks. */
static __always_inline u64 valve_slice(u32 queued)
{
	u64 slice = queued > SPARE_VALVE_CROWD ? SPARE_VALVE_SLICE_NS * SPARE_VALVE_CROWD / queued : SPARE_VALVE_SLICE_NS;

	return slice > SPARE_VALVE_SLICE_MIN_NS ? slice : SPARE_VALVE_SLICE_MIN_NS;
}

__noinline int valve_queue(struct host_cpu *h __arg_nonnull, s32 cpu, u64 stamp)
{
	struct task_struct *p, *head = scx_bpf_dsq_peek(host_dsq(cpu));
	u64 first = h->vnow - 2 * SPARE_HOST_CREDIT_NS;

	if (head && spare_before(head->scx.dsq_vtime, first))
		first = head->scx.dsq_vtime & ~SPARE_VTIME_COUNTED;
	h->scan = h->let_out = 0;
	h->valve_nr = scx_bpf_dsq_nr_queued(host_dsq(cpu));
	bpf_for_each(scx_dsq, p, host_dsq(cpu), 0) {
		if (h->scan++ >= SPARE_VALVE_SCAN || h->let_out >= valve_tasks(h->valve_nr))
			break;
		/* Or is before them already, in the order of the scans. */
		if (!waits_since(p, stamp) || p->scx.slice <= SPARE_VALVE_SLICE_NS)
			continue;
		h->let_out++;
		scx_bpf_dsq_move_set_slice(BPF_FOR_EACH_ITER, valve_slice(h->valve_nr));
		scx_bpf_dsq_move_set_vtime(BPF_FOR_EACH_ITER, first | (p->scx.dsq_vtime & SPARE_VTIME_COUNTED));
		scx_bpf_dsq_move_vtime(BPF_FOR_EACH_ITER, p, host_dsq(cpu), 0);
		__sync_fetch_and_add(&host_valve_tasks, 1);
	}
	return 0;
}

/* A grant against cpu.max, which the whole chain pays; a crowd's are not without end what its siblings there wait for. */
static __always_inline void valve_charge(u32 id)
{
	struct host_group *g;
	int i;

	if (id & SPARE_LIMIT_SERVER) {
		stray_add(id, -(s64)SPARE_VALVE_GRANT_NS);
		return;
	}
	bpf_for(i, 0, SPARE_GROUP_LEVELS) {
		g = group(id);
		if (!g)
			break;
		if (g->left_ns > -(s64)(SPARE_VALVE_DEBT * g->quota_us * 1000))
			__sync_fetch_and_add(&g->left_ns, -(s64)SPARE_VALVE_GRANT_NS);
		id = g->limit_up;
	}
}

__noinline int valve_parked(struct host_cpu *h __arg_nonnull, s32 cpu, u64 stamp)
{
	struct task_struct *p;
	struct task_ctx *t;
	u32 limit;

	h->scan = h->let_out = 0;
	h->valve_nr = scx_bpf_dsq_nr_queued(park_dsq(cpu));
	bpf_for_each(scx_dsq, p, park_dsq(cpu), 0) {
		if (h->scan++ >= SPARE_VALVE_SCAN || h->let_out >= valve_tasks(h->valve_nr))
			break;
		if (!waits_since(p, stamp))
			continue;
		h->let_out++;
		limit = task_limit(p);
		t = task_ctx(p);
		if (t && limit) {
			valve_charge(limit);
			t->grant_ns = SPARE_VALVE_GRANT_NS;
			t->grant_of = limit;
		}
		scx_bpf_dsq_move_vtime(BPF_FOR_EACH_ITER, p, host_dsq(cpu), 0);
		h->queued = 1;
		__sync_fetch_and_add(&host_valve_tasks, 1);
	}
	return 0;
}

/*
 * Once a second, or as often as the host gets a turn. The stamps of the last scans say what jiffies were that long ago: the youngest that is old
 * enough counts.
 */
static __always_inline void host_valve(struct host_cpu *h, s32 cpu, u64 now)
{
	u64 stamp = 0, at = 0;
	u32 next;
	int i;

	if (now - h->valve_ns < SPARE_VALVE_NS)
		return;
	h->valve_ns = now;
	for (i = 0; i < SPARE_VALVE_SCANS; i++) {
		if (h->valve_stamp[i] && now - h->valve_at[i] >= SPARE_VALVE_WAIT_NS && spare_before(at, h->valve_at[i])) {
			stamp = h->valve_stamp[i];
			at = h->valve_at[i];
		}
	}
	next = h->valve_next++ % SPARE_VALVE_SCANS;
	h->valve_stamp[next] = bpf_jiffies64();
	h->valve_at[next] = now;
	if (!stamp)
		return;
	if (h->queued)
		valve_queue(h, cpu, stamp);
	if (h->park_ns)
		valve_parked(h, cpu, stamp);
}

#endif
