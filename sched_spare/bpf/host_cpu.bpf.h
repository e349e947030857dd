/* SPDX-License-Identifier: GPL-2.0 */
/*
 * host_cpu.bpf.h - one CPU's queue of host tasks (CBS-9).
 *
 * Virtual time is CPU time at weight 100: a task of weight w pays 100/w ns for each ns that it runs. A queue's own virtual time is
 * the latest one at which a task of it began to run; whoever is queued there is at most SPARE_HOST_CREDIT_NS behind.
 *
 * Changed under the run-queue lock of the CPU. What others read or write is a single word: `queued` after they have put
 * something into the queue, `vnow` and `speed` to compare.
 */
#ifndef SPARE_HOST_CPU_BPF_H
#define SPARE_HOST_CPU_BPF_H

#include "spare.bpf.h"
#include <sched_spare/cbs.h>
#include "kfuncs.bpf.h"

enum host_const : __u64 {
	SPARE_HOST_SLICE_NS	= 3ULL * 1000000,	/* ends at the tick: at most 4 ms at HZ=250; a longer one might be 8 */
	SPARE_HOST_AHEAD	= 4,			/* slices that a task may be ahead of a queue it comes to */
	SPARE_HOST_CREDIT_NS	= 4ULL * 1000000,	/* virtual time that a sleeper may be behind when it wakes; it preempts who is so much ahead of it */
	SPARE_TAKE_SCAN		= 32,			/* tasks looked at before one of them is taken from another CPU, */
	SPARE_TAKE_ASKED	= 1024,			/* and where somebody is known to be, or now and then */
	SPARE_TAKE_REST_NS	= 100ULL * 1000000,	/* from one such look to the next */
	SPARE_HOST_GRAIN_NS	= 500000ULL,		/* what does not count between two that are to run */
	SPARE_COST_SHIFT	= 20,			/* fixed point of a cost: virtual ns per ns */
	SPARE_COST_ONE		= 1ULL << 20,
	SPARE_COST_MAX		= 1ULL << 35,
	SPARE_COST_RUN_MAX_NS	= 1ULL << 28,		/* longest run that is charged at once: no overflow */
	SPARE_VTIME_COUNTED	= 1,			/* bit 0 of a task's vtime: its group counts it (host_group.bpf.h) */
};

/* No short cut: */
enum host_detour {
	DETOUR		= 1,	/* dispatch shall see what there is, */
	/*
	 * as soon as a host task runs: somebody has woken who preempts. Behind a higher class whom that has put aside is in the local queue, for which
	 * the kernel asks no dispatch; such a one is stopped as it begins.
	 */
	DETOUR_RUN	= 2,
};

struct host_cpu {
	u64 vnow;	/* virtual time of the queue */
	u64 v;		/* the current host task's when it began to run, */
	u64 start_ns;	/* when that was (rq_clock_task, from se.exec_start: the kernel keeps it, nobody has to read a clock), */
	u64 cost;	/* and what it pays */
	u32 servers;	/* configured servers on this CPU; none: host tasks take short cuts */
	union {
		struct {
			u8 queued;	/* something may be in the host's queue, */
			u8 local;	/* and in the kernel's local queue, put there by the short cut */
			u8 detour;	/* enum host_detour */
			u8 unused;
		};
		u32 no_short_cut;	/* any of them */
	};
	u8 kthreads;	/* something may be in the queue of pinned kernel threads, */
	u8 kthread_runs;/* one of them is the current task, on a CPU with servers; */
	u8 kthread_wait;/* and dispatch lets that wait behind the servers that are ready */
	u8 stray;	/* the current task is of a VM that has no server here */
	u8 idle;	/* counted in idle_cpus: it went idle, and no thread of the class has run since */
	u8 offline;	/* ops.cpu_offline was here: nobody takes from its queue */
	u8 armed;	/* the hard timer may be armed for the host's sake */
	u32 limit;	/* the current host task is under this limit (host_limit.bpf.h), 0: none; */
	u64 grant_ns;	/* what it has taken from it, */
	u64 grant_end_ns;/* and when that ends (CLOCK_MONOTONIC), or the valve's turn without a limit; 0: it does not */
	u64 valve_half_ns;/* until then the last turn by the valve has had less than half of it */
	u64 began_ns;	/* when the run of a task under a limit, or the look by which it goes on, began (CLOCK_MONOTONIC); */
	u64 unseen_ns;	/* what the kernel's account has missed of the last such run, */
	u64 unseen_at;	/* which ended then by that account; */
	u64 late_ns;	/* so much of that is in this run's */
	u64 dispatch_ns;/* when ops.dispatch has begun since somebody began to run; 0: it has not */
	u64 park_idle_ns;/* next look for those whom an idle CPU may run */
	u64 park_ns;	/* when somebody in the parking queue may have a turn (CLOCK_MONOTONIC); 0: nobody waits there */
	u32 park_left;	/* of a circle through it, */
	u8 park_goes;	/* which a look has begun: */
	u32 park_same;	/* they have come to so many, who stay, */
	u64 park_at;	/* of this virtual time, */
	u64 park_due_ns;/* and the next refill seen so far; 0: none */
	u64 bal_ns;	/* host_balance.bpf.h: last look, */
	u64 bal_v;	/* vnow then, */
	u64 speed;	/* and how fast it went before, in 1/1024 */
	u32 bal_next;
	u32 asked;	/* a CPU + 1 that has somebody in its queue who may run here (while it was idle); 0: none */
	u32 scan, skip, same;	/* counters of a loop: in memory, or the verifier would follow each round of it; */
	u32 let_out;	/* whether it has let somebody out, */
	u32 dry;	/* and the last limit that it found exhausted, */
	u64 dry_vm;	/* of the strays of this VM, */
	u8 dry_net;	/* for network threads, too */
	u32 valve_nr;	/* length of the queue that a scan of the valve looks at */
	u32 valve_next;
	u64 look_ns;	/* next look of its tick that goes far (look_most) */
	u64 valve_ns;	/* last scan for those who wait too long */
	u64 valve_stamp[10];	/* of the last ones, in jiffies, */
	u64 valve_at[10];	/* and when they were */
	u64 wait_ns;	/* host_floor.bpf.h: when somebody of the host last ran, or began to wait; 0: nobody waits; */
	u64 owed_ns;	/* what the servers owe the host since, */
	u64 floor_end_ns;/* and when its turn before them ends; 0: it has none */
	u8 floor;	/* the current host task runs in such a turn */
	u64 kthread_ns;	/* host_kthread.bpf.h: up to when the host's share has been used (CLOCK_MONOTONIC), */
	u64 kthread_due_ns;/* until when they go behind ready servers; 0: they do not; */
	u64 first;	/* who was first in the host's queue when one of them last came to run, */
	u64 stood_ns;	/* and since when it has been that one; */
	u64 turn_end_ns;/* when the turn ends that the rest of the host has before them */
};

CLASS_VAR u64 servers_total;	/* configured servers on all CPUs */
CLASS_VAR u64 host_regulated;	/* and cgroups with cpu.max beside them: with neither the ways of a host task are the shortest */
CLASS_VAR u64 idle_cpus;
CLASS_VAR u32 nr_cpus;		/* possible, */
CLASS_VAR u32 cpus_end;		/* and behind the last that has been idle, or asked, so far */
const volatile bool smt_active = true;	/* user space knows */

/* For user space. */
CLASS_VAR u64 host_valve_tasks;	/* host tasks that had waited so long that the valve let them run (host_balance.bpf.h) */
const volatile u32 host_share_ppm = 100000;	/* 1 - admission limit */

CLASS_VAR u64 host_vref;		/* the host's virtual time, roughly: where the queue of a CPU that was idle goes on */

static __always_inline u64 host_dsq(s32 cpu)
{
	return SPARE_DSQ_HOST | (u32)cpu;
}

static __always_inline u64 kthread_dsq(s32 cpu)
{
	return SPARE_DSQ_KTHREAD | (u32)cpu;
}

/*
 * How many of a queue a look for somebody who may run elsewhere goes through. Beyond the first few only now and then, by whoever has this `due`: who
 * waits behind a crowd that is bound is found, and nobody pays for that at each look.
 */
static __always_inline u32 look_most(u64 *due)
{
	u64 now = bpf_ktime_get_ns();

	if (spare_before(now, *due))
		return SPARE_TAKE_SCAN;
	*due = now + SPARE_TAKE_REST_NS;
	return SPARE_TAKE_ASKED;
}

/* Sleepable, from ops.init. */
static __always_inline int host_cpu_init(struct host_cpu *h, s32 cpu)
{
	int err = scx_bpf_create_dsq(host_dsq(cpu), -1);

	if (!err)
		err = scx_bpf_create_dsq(SPARE_DSQ_PARK | (u32)cpu, -1);
	if (!err)
		err = scx_bpf_create_dsq(SPARE_DSQ_GUARD | (u32)cpu, -1);
	return err ?: scx_bpf_create_dsq(kthread_dsq(cpu), -1);
}

/* A server of this CPU gets its first configuration, or goes. */
static __always_inline void host_server_comes(struct host_cpu *h)
{
	h->servers++;
	__sync_fetch_and_add(&host_regulated, 1);
	__sync_fetch_and_add(&servers_total, 1);
}

static __always_inline void host_server_goes(struct host_cpu *h)
{
	if (!h->servers)
		return;
	h->servers--;
	__sync_fetch_and_add(&servers_total, -1);
	__sync_fetch_and_add(&host_regulated, -1);
}

static __always_inline void host_idle_ends(struct host_cpu *h)
{
	h->idle = false;
	__sync_fetch_and_add(&idle_cpus, -1);
	if (spare_before(h->vnow, host_vref))
		h->vnow = host_vref;
}

static __always_inline void host_idle(struct host_cpu *h, bool idle)
{
	if (h->idle == idle)
		return;
	if (!idle) {
		host_idle_ends(h);
		return;
	}
	h->idle = true;
	__sync_fetch_and_add(&idle_cpus, 1);
}

/* Virtual time of a run of delta ns. */
static __always_inline u64 host_cost(const struct host_cpu *h, u64 delta)
{
	if (h->cost == SPARE_COST_ONE)
		return delta;
	if (delta > SPARE_COST_RUN_MAX_NS)
		delta = SPARE_COST_RUN_MAX_NS;
	return delta * h->cost >> SPARE_COST_SHIFT;
}

#endif
