/* SPDX-License-Identifier: GPL-2.0 */
/* cpu_ctx.bpf.h - what the class keeps of each CPU. Changed only under its run-queue lock (cpu.bpf.h). */
#ifndef SPARE_CPU_CTX_BPF_H
#define SPARE_CPU_CTX_BPF_H

#include "spare.bpf.h"
#include <sched_spare/abi.h>
#include <sched_spare/edf.h>
#include "host_cpu.bpf.h"

enum look {
	LOOK_NOT,
	LOOK_IDLE,	/* an idle CPU looks again, */
	LOOK_RUN,	/* or whoever runs, unless in the same server: siblings wait for the offer */
};

struct cpu_ctx {
	struct host_cpu host;		/* host tasks (host.bpf.h) */
	struct spare_edf ready;		/* READY and RUNNING servers by deadline, */
	u64 ready_ns;			/* and since when there has been one */
	struct spare_edf throttled;	/* THROTTLED servers by replenishment */
	struct spare_edf waiting;	/* marked servers that found no provider free, by arrival */
	u64 stamp_ns;			/* the current run is charged up to here, */
	u64 above_ns;			/* and what softirqs and real-time threads had had of the CPU by then (spare_above_ns) */
	u64 began_ns;			/* when it began: the stamp is of an earlier one until its switch has been charged */
	u64 turn_end_ns;		/* of the current thread, when others of its server wait (CBS-8) */
	u64 turn_longer_ns;		/* so much longer than what was left of it (spare_turn_resume): nothing of that is ever left */
	u64 switch_ns;			/* what the last switch at the end of a turn took, up to the next thread's start */
	u32 cur;			/* server whose thread runs; SPARE_NO_SLOT: a host task or nothing */
	u32 by;				/* server that pays: cur or the provider it has claimed */
	u32 pick;			/* server whose thread dispatch has just moved to the local queue, */
	u32 pick_by;			/* and who is to pay */
	u32 put_pid;			/* thread that was just stopped and will be enqueued again */
	u32 left;			/* server that pays for the switch away from the thread that was just stopped, */
	u32 left_pid;			/* that thread, */
	u32 left_of;			/* and its own server, which differs when it had borrowed; */
	u32 left_limited;		/* it was `limited`, too */
	u32 fwd_cpu;			/* a thread was queued on another CPU from here: its server (forward()), */
	u32 fwd_slot;			/* which has still to be told; SPARE_NO_SLOT: none, */
	u32 fwd_pid;			/* and that thread */
	u32 offer;			/* slot of a server that was throttled with threads waiting: dispatch offers them to siblings */
	u32 queued_seq;			/* threads queued in servers here so far */
	u32 look;			/* enum look: a put has brought something after dispatch had chosen */
	u32 early;			/* run_task(): dispatch must look again at once, */
	u32 runs_on;			/* and nobody has switched; in memory, or the verifier would follow each */
	u32 net;			/* the current thread is a network thread */
	u32 kind;			/* what it is (task.bpf.h) */
	u32 limited;			/* the current thread is a vhost worker of a VM with a limit (guard.bpf.h), */
	u64 may_ns;			/* and may run so much, whatever is left */
	u64 guard_ns;			/* the next one that waits for its limit goes on then (CLOCK_MONOTONIC); 0: none waits */
	u32 sleeps;			/* while it is charged for the last time: it stops because it sleeps */
	u64 run_ns;			/* how long the current run has lasted */
	u64 again_ns;			/* a server that is withdrawn still has threads, which go then (life.bpf.h); 0: none */
	u64 taken_from, taken_to;	/* a higher class had the CPU, and no dispatch has looked since; both 0: none */
	u64 dl_bw;			/* bandwidth of the root domain's deadline threads, as last seen (deadline.bpf.h) */
	u64 dl_seen;			/* and the jiffy of that look */
	u64 dl_servers_bw, dl_cpus;	/* sums of deadline_part_ppm() */
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 64);	/* user space sets it to the number of possible CPUs */
	__type(key, u32);
	__type(value, struct cpu_ctx);
} cpus SEC(".maps");

static __always_inline struct cpu_ctx *cpu_ctx(s32 cpu)
{
	u32 key = cpu;

	return bpf_map_lookup_elem(&cpus, &key);
}

#endif
