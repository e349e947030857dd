/* SPDX-License-Identifier: GPL-2.0 */
/*
 * abi.h - what the module, the BPF class and user space share.
 *
 * One number, SPARE_ABI, is compiled into all three and compared by name when the class attaches (LIFE-6). Raise it with
 * every change of a layout or a meaning in this file.
 *
 * Units: *_ns nanoseconds of CLOCK_MONOTONIC or of CPU time, *_us microseconds. Every structure here lives in the memory
 * of sched_spare.ko; BPF reaches it through the kfuncs at the end, user space reads it as text (spare.stat).
 *
 * Who writes what (there is no lock on the scheduling path):
 *   [m]  the module, in process context under its configuration mutex
 *   [c]  the class, under the run-queue lock of server.cpu
 *   [a]  atomically, by anyone
 */
#ifndef SCHED_SPARE_ABI_H
#define SCHED_SPARE_ABI_H

#ifndef __VMLINUX_H__
#include <linux/types.h>
#endif

#define SPARE_ABI 17

/* Who is in the kernel when its time ends has so long to leave it (kick.c), where its budget is ten times as long. */
#define SPARE_LEAVE_NS		200000ULL
#define SPARE_LEAVE_Q_NS	(10 * SPARE_LEAVE_NS)

#ifdef __cplusplus
#define SPARE_STATIC_ASSERT static_assert
#else
#define SPARE_STATIC_ASSERT _Static_assert
#endif

enum spare_limit {
	SPARE_CPUS_MAX	= 1024,	/* CPUs the class can serve */
	SPARE_SLOTS	= 192,	/* servers on one CPU; CBS-7's Q/P >= 0.5 % admits at most 180 under a limit of 0.90 */
	SPARE_USE_MAX	= 8,	/* providers one server may borrow from */
	SPARE_NO_SLOT	= 0xffff,
};

/* CBS-7: what a reservation may be, in microseconds and parts per million. */
enum spare_range {
	SPARE_PERIOD_MIN_US	= 100,
	SPARE_PERIOD_MAX_US	= 1000000,
	SPARE_RUNTIME_MIN_US	= 50,
	SPARE_UTIL_MIN_PPM	= 5000,
	SPARE_PPM		= 1000000,
	SPARE_NET_PERIOD_MAX_US	= 100000,	/* GUARD-1: of spare.net.max */
};

/* CBS-1. A server that is READY or RUNNING sits in its CPU's ready queue, a THROTTLED one in the replenishment queue. */
enum spare_state {
	SPARE_INACTIVE,
	SPARE_READY,
	SPARE_RUNNING,
	SPARE_THROTTLED,
};

/* Reservation and its progress (cbs.h). */
struct spare_cbs {
	__s64 q_ns;		/* budget left; negative: overrun that later periods pay (CBS-2) */
	__u64 d_ns;		/* deadline; of a throttled server also its replenishment */
	__u64 runtime_ns;	/* Q */
	__u64 period_ns;	/* P */
};

/* What a server pays of what its VM has cost elsewhere (DEBT-1, debt.h). */
struct spare_debt {
	__u64 owed_ns;		/* not paid yet */
	__u64 spread_ns;	/* what each period of this interval pays of it */
	__u64 until_ns;		/* periods that begin then are of the next interval; 0: nothing was owed since it has a queue */
};

/* Where a packet's mark stands on one server (SPARE-4, spare.h). */
enum spare_mark_phase {
	SPARE_UNMARKED,
	SPARE_MARK_ARRIVED,	/* hook saw a packet; the network thread has not woken yet */
	SPARE_MARK_WOKEN,	/* network thread queued, first service not given */
	SPARE_MARK_SERVED,	/* first service given, grant not used up */
};

struct spare_mark {
	__u32 phase;		/* enum spare_mark_phase */
	__u32 chances;		/* times a borrowed run began since the mark began */
	__u64 since_ns;		/* when the mark began */
	__u64 used_ns;		/* borrowed CPU used under this mark */
};

/* A chunk of the own budget under a nearer deadline (SPARE-7, pool.h). */
struct spare_chunk {
	__u64 d_ns;		/* deadline of the chunk */
	__s64 left_ns;		/* of the chunk; <= 0: none */
	__u64 last_ns;		/* when it began */
};

/* First-service latency of a packet that found its server throttled: bucket i counts less than 2^i * 64 us; last: the rest. */
#define SPARE_LAT_BUCKETS 16

struct spare_stats {		/* [c] */
	__u64 used_ns;		/* own budget used */
	__u64 boost_ns;		/* borrowed from providers */
	__u64 lent_ns;		/* provider: lent to others */
	__u64 periods;		/* replenishments */
	__u64 throttled;	/* times throttled */
	__u64 throttled_ns;
	__u64 overrun_max_ns;	/* most that a budget was overdrawn at once */
	__u64 overruns;		/* budgets overdrawn by more than 100 us */
	__u64 misses;		/* deadlines passed with budget left and work waiting */
	__u64 granted;		/* marks that got a provider; of a provider: loans */
	__u64 denied;		/* marks that ended without first service by a provider */
	__u64 expired;		/* marks after which no network thread woke */
	__u64 unasked;		/* times a packet waited until the own budget was back although nobody had asked a provider: a fault of the class */
	__u64 short_grant;	/* SPARE-10: marks that ended with their grant (or chances) used, their vCPU would have run on; */
	__u64 short_gain;	/* likewise, because the VM could gain no more; */
	__u64 short_q;		/* and times when the provider's own budget ended first */
	__u64 blocked;		/* marks that found every provider taken; of a provider: those that named it first */
	__u64 hastened;		/* chunks run under a nearer deadline (SPARE-7) */
	__u64 migrated;		/* threads queued from another CPU */
	__u64 stray_ns;		/* run on CPUs where the VM has no server, and paid from here (CBS-11) */
	__u64 stolen_ns;	/* ready, while a real-time or deadline thread had the CPU, or the host its floor beside one */
	__u64 valve_ns;		/* beyond the budget, for a crowd of threads (CBS-7) */
	__u64 repaid_ns;	/* DEBT-1: what the VM has cost elsewhere and budgets have paid, unused ones too */
	__u64 waived_ns;	/* DEBT-1: and what of it nobody pays, because charge was none */
	__u64 vcpu_ns;		/* CPU of its vCPU threads, wherever it was paid */
	__u64 vhost_ns;		/* CPU of its vhost workers, likewise */
	__u64 lat_sum_ns;
	__u64 lat_max_ns;
	__u64 lat[SPARE_LAT_BUCKETS];
};

enum spare_server_flags {
	SPARE_F_PROVIDER	= 1 << 0,
	SPARE_F_DYING		= 1 << 1,	/* the class drops it and calls spare_server_release() */
};

enum spare_pending {
	SPARE_PEND_QUEUED	= 1 << 0,	/* a thread was queued from another CPU, or one of a throttled sibling waits */
	SPARE_PEND_OFFER	= 1 << 2,	/* a thread was queued while THROTTLED: siblings may take it */
	SPARE_PEND_SERVICE	= 1 << 1,	/* the network thread ran elsewhere: the vCPU it kicks may be here (SPARE-2) */
};

/* A server: one (cgroup, CPU) pair (CBS-1). */
struct spare_server {
	__u32 cpu;		/* [m] before it is published */
	__u32 slot;		/* [m] index on that CPU, < SPARE_SLOTS */
	__u64 id;		/* [m] no other server has or had it: slots are used again */
	__u64 vm_id;		/* [m] cgroup id */
	__u64 cfg;		/* [m] one word: runtime_us << 32 | period_us */
	__u32 flags;		/* [m] enum spare_server_flags */
	__u32 state;		/* [c] enum spare_state; the module only reads */
	__u16 use[SPARE_USE_MAX];/* [m] slots of the providers on this CPU, in order; SPARE_NO_SLOT ends the list */

	__u64 cfg_seen;		/* [c] cfg that cbs reflects; 0: new */
	struct spare_cbs cbs;	/* [c] */
	struct spare_mark mark;	/* [c] */
	struct spare_chunk far;	/* [c] */
	struct spare_debt debt;	/* [c] */
	__u64 dsq;		/* [c] queue of its runnable threads; 0: not configured yet, or the CPU is offline */
	__s64 valve_ns;		/* [c] what a crowd may still run beyond the budget before the next replenishment */
	__u64 rx_served;	/* [c] vm.rx_seq up to which first service was given */
	__u64 rx_denied;	/* [c] vm.rx_seq when a packet was last denied (SPARE-5): counted, and asks no more */
	__u64 ready_ns;		/* [c] when state last became READY */
	__u64 since_ns;		/* [c] when state last became THROTTLED */
	__u16 lender;		/* [c] provider this server has claimed, or SPARE_NO_SLOT */
	__u16 borrower;		/* [c] of a provider: server that has claimed it, or SPARE_NO_SLOT */
	__u32 net_queued;	/* [c] network threads waiting in its queue */
	__u64 debt_ns;		/* [a] CPU to be charged at the next opportunity */
	__s64 taken_ns;		/* [a] what strays have taken of the budget and the server has not paid yet; less than 0: given back (CBS-11) */
	__s64 strayed_ns;	/* [c] what it has paid of that in this period */
	__u32 pending;		/* [a] enum spare_pending: what another CPU wants of this server */
	__u32 svc_pending;	/* [c] a packet was picked up by the network thread, the vCPU has not run since */
	__u64 given_ns;		/* [m, c] st.used_ns up to which its heir pays (spare_server_inherit, server_bequeath), */
	__u64 heir_id;		/* [m] that server; 0: none. Read when this one is to be dropped. */
	__u32 heir_cpu, heir_slot; /* [m] */
	__u64 owed_ns;		/* [c] what the vCPU has not had yet of that packet's grant */
	__u64 look_ns;		/* [c] next look far into a sibling's queue */
	struct spare_stats st;	/* [c] */
};

/*
 * A server that a VM gets on one CPU, and by the same write loses another's: budget, deadline and debts go with it, so that moving mints no CPU time, as
 * rewriting does not (spare_cbs_configure). Before it is published. What the other one still runs, and is told that strays have taken, until the class
 * drops it, is the heir's to pay (server_drop). (A run that the class charges at this very moment may be paid twice; debt that it takes up then may be lost.)
 */
static inline void spare_server_inherit(struct spare_server *to, struct spare_server *from)
{
	to->debt_ns = __sync_lock_test_and_set(&from->debt_ns, 0);
	to->taken_ns = __sync_lock_test_and_set(&from->taken_ns, 0);
	from->given_ns = from->st.used_ns;
	__sync_synchronize();
	to->cbs = from->cbs;
	to->cfg_seen = from->cfg_seen;
	from->heir_cpu = to->cpu;
	from->heir_slot = to->slot;
	from->heir_id = to->id;
}

enum spare_vm_flags {
	SPARE_VM_PAYBACK	= 1 << 0,	/* SPARE-6: boosts are charged as debt */
	SPARE_VM_NOWAIT		= 1 << 1,	/* SPARE-5: a packet that finds no provider free is denied at once */
	SPARE_VM_HASTEN		= 1 << 2,	/* SPARE-7: a packet that finds the deadline far brings a chunk nearer */
	SPARE_VM_CHARGE		= 1 << 3,	/* DEBT-1: what it costs outside its servers is paid from its budgets */
};

/*
 * A vhost worker, by what the kernel has made it (include/linux/sched.h: PF_USER_WORKER, PF_IO_WORKER): its name is its process's to change. But
 * for KVM's own worker; one of vhost's that takes its name is no network thread, and what it sends is dropped.
 */
static inline int spare_is_worker(__u32 flags, const char *comm)
{
	return (flags & (0x00004000 | 0x00000010)) == 0x00004000 && !(comm[0] == 'k' && comm[1] == 'v' && comm[2] == 'm' && comm[3] == '-');
}

/* spare.net.max (GUARD-1, guard.h): what network work for a VM may use of CPU. Directions are the VM's. */
enum spare_direction {
	SPARE_RX,		/* packets to it */
	SPARE_TX,		/* packets from it */
};

/* Why a packet may pass with nothing left. */
enum spare_guard_needed {
	SPARE_NEEDED_NOT,
	SPARE_NEEDED_NETWORK,	/* a network breaks down without it */
	SPARE_NEEDED_OPERATOR,	/* it was named */
};

struct spare_guard {
	__u64 cfg;		/* [m] one word, as spare_server.cfg; 0: no limit */
	__s64 left_ns;		/* [a] budget left; 0 and less: its network work waits, or is dropped */
	__u64 refill_ns;	/* [a] when it next grows */
	__u64 seen_ns;		/* [a] of what the meter has counted, charged up to here */
	__u64 told_ns;		/* [a] refill_ns when SPARE_EV_GUARDED was last counted */
	__u64 soft_at_ns;	/* [a] refill_ns of the period in which softirqs have had */
	__u64 soft_ns;		/* [a] so much */
	__u64 held_at_ns;	/* [a] refill_ns when a worker last had to wait */
	__u64 worker_ns;	/* [c] when the class last charged a vhost worker */
	__u64 turn_ns;		/* [a] the next turn of one with nothing left */
	__u64 used_ns;		/* [a] charged so far */
	__u64 held;		/* [a] times a vhost worker had to wait */
	__u64 dropped[2];	/* [a] packets, by direction */
	__u64 passed[2];	/* [a] and those that went through nevertheless, */
	__u64 pass_ns;		/* [a] when `passes` are 0 again: */
	__u32 passes[2][2];	/* [a] of them since, by direction and kind (enum spare_guard_needed) */
};

#define SPARE_EV_MAX 16

/* A cgroup with a reservation. */
struct spare_vm {
	__u64 id;			/* [m] cgroup id */
	__u64 cpus[SPARE_CPUS_MAX / 64];/* [m] where it has a server; bit set after the server is published */
	__u64 grant_ns;			/* [m] borrowed CPU per mark (SPARE-4) */
	__u32 chances;			/* [m] borrowed runs per mark (SPARE-4) */
	__u32 flags;			/* [m] enum spare_vm_flags */
	__u64 window_ns, gain_ns;	/* [m] SPARE-6: at most gain_ns borrowed per window_ns; 0: unbounded */
	__u64 interval_ns;		/* [m] DEBT-1: over how long a debt is spread */
	__u64 window_start_ns;		/* [a] */
	__u64 window_used_ns;		/* [a] */

	__u64 rx_seq;			/* [a] packets that the hook saw */
	__u64 rx_ns;			/* [a] time of the last one */
	__u32 nr_throttled;		/* [a] servers that are THROTTLED: the hook's test */
	__u32 unused;
	__u64 served_seq;		/* [c] rx_seq when a network thread last served on one CPU of several, */
	__u64 served_ns;		/* [c] and when that was: for servers that become THROTTLED after it (SPARE-8, SPARE-9) */
	__u64 rt_ns;			/* [a] CPU of its real-time and deadline threads, left to its servers as debt (CBS-11) */
	__u64 stray_ns;			/* [c] when SPARE_EV_STRAY was last counted */
	struct spare_guard guard;
	__u64 ev[SPARE_EV_MAX];		/* [a] counters of spare.events, by enum spare_event */
};

enum spare_event {
	SPARE_EV_EXHAUSTED,
	SPARE_EV_BOOSTED,
	SPARE_EV_DENIED,
	SPARE_EV_GUARDED,
	SPARE_EV_OVERRUN,
	SPARE_EV_PROVIDER_LOST,
	SPARE_EV_STRAY,
	SPARE_EV_RT,
	SPARE_EV_AFFINITY,
	SPARE_EV_NR,
};

/* What the class tells the module's tracepoints (kmod/trace.h). */
enum spare_trace_what {
	SPARE_TRACE_THROTTLE,
	SPARE_TRACE_REPLENISH,
	SPARE_TRACE_GRANT,
	SPARE_TRACE_DENY,
};

SPARE_STATIC_ASSERT(sizeof(struct spare_cbs) == 32, "ABI");
SPARE_STATIC_ASSERT(sizeof(struct spare_server) % 8 == 0, "ABI");
SPARE_STATIC_ASSERT(SPARE_EV_NR <= SPARE_EV_MAX, "ABI");

#endif /* SCHED_SPARE_ABI_H */
