/* SPDX-License-Identifier: GPL-2.0 */
/* task.bpf.h - what the class knows of a thread, and which of a VM's CPUs it goes to. */
#ifndef SPARE_TASK_BPF_H
#define SPARE_TASK_BPF_H

#include "spare.bpf.h"
#include <sched_spare/abi.h>
#include <sched_spare/cbs.h>
#include <sched_spare/spare.h>
#include "kfuncs.bpf.h"
#include "compat.bpf.h"
#include "host_cpu.bpf.h"
#include "cpu.bpf.h"
#include "boost.bpf.h"

/* A network thread that found a packet when it began to run, until it sleeps. */
enum spare_serves {
	SPARE_SERVES_NONE,
	SPARE_SERVES,		/* what it is to serve was announced, */
	SPARE_SERVES_CUT,	/* and it was stopped since: perhaps it had not served it yet */
};

struct task_ctx {
	u32 group;		/* host task: group that counts it as runnable, 0: none, */
	u64 group_weight;	/* and what it counts there (host_group.bpf.h) */
	u64 grant_ns;		/* queued: taken from its cgroup's cpu.max, or its VM's budget (host_limit.bpf.h, stray.bpf.h), */
	u32 grant_of;		/* of which that is; while a stray runs, who pays for it */
	u64 ran_ns;	/* CPU used since it last woke */
	u64 start_ns;	/* of the current run */
	u64 key;	/* its place in the server's queue, */
	u64 waits_in;	/* and the VM where it waits there, and has not run since */
	u64 turn_left;	/* of its turn, when it was stopped before the end */
	u32 q_cpu;	/* where net_queued counts it */
	u32 q_slot;
	u64 q_id;	/* and that server's */
	bool counted;	/* it is counted there */
	bool net;		/* a packet has woken it once */
	u8 serves;		/* enum spare_serves */
	bool stray;	/* of a VM, on a CPU where that has no server */
};

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct task_ctx);
} tasks SEC(".maps");

static __always_inline s32 task_cpu(const struct task_struct *p)
{
	return p->thread_info.cpu;
}

static __always_inline struct task_ctx *task_ctx(struct task_struct *p)
{
	return bpf_task_storage_get(&tasks, p, NULL, 0);
}

static __always_inline struct spare_vm *task_vm(struct task_struct *p)
{
	/* Until a CPU has seen the first server, everything is the host's. */
	return servers_total ? (struct spare_vm *)spare_task_vm(p, sizeof(struct spare_vm)) : NULL;
}

/* What a VM's thread is, by the name that the kernel or QEMU (-name …,debug-threads=on; libvirt's default) gives it. */
enum spare_kind {
	SPARE_KIND_OTHER,	/* emulator, iothread, vCPU without a name */
	SPARE_KIND_VCPU,	/* "CPU <n>/KVM" */
	SPARE_KIND_VHOST,	/* "vhost-<owner>" */
};

static __always_inline u32 task_kind(const struct task_struct *p)
{
	if (p->comm[0] == 'v' && p->comm[1] == 'h' && p->comm[2] == 'o' && p->comm[3] == 's' && p->comm[4] == 't' &&
	    p->comm[5] == '-')
		return SPARE_KIND_VHOST;
	return p->comm[0] == 'C' && p->comm[1] == 'P' && p->comm[2] == 'U' && p->comm[3] == ' ' ? SPARE_KIND_VCPU :
												  SPARE_KIND_OTHER;
}

/*
 * A network thread of its VM: who has been woken by the arrival of a packet, whenever it is woken again, for a turn (SPARE-9); a vhost worker,
 * which the kernel names vhost-<owner>, always.
 */
static __always_inline bool is_net(struct task_struct *p, const struct task_ctx *t)
{
	return (t->net && t->ran_ns < SPARE_TURN_NS) || task_kind(p) == SPARE_KIND_VHOST;
}

/* Migration is off, and not only because the kernel switches it off in the current task while a BPF program runs. */
static __always_inline bool task_pinned(struct task_struct *p)
{
	if (p->migration_disabled == 1)
		return p->pid != bpf_get_current_task_btf()->pid;
	return p->migration_disabled;
}

static __always_inline bool task_may_run(struct task_struct *p, s32 cpu)
{
	if (task_pinned(p))
		return cpu == scx_bpf_task_cpu(p);
	return bpf_cpumask_test_cpu(cpu, p->cpus_ptr);
}

/* It has not had a full turn since it woke (CBS-8). */
static __always_inline bool task_front(struct task_struct *p)
{
	struct task_ctx *t = task_ctx(p);

	return t && t->ran_ns < SPARE_TURN_NS;
}

static __always_inline void task_unqueued(struct task_ctx *t)
{
	struct spare_server *s;

	if (!t->counted)
		return;
	t->counted = false;
	s = server(t->q_cpu, t->q_slot);
	if (s && s->net_queued && s->id == t->q_id)
		__sync_fetch_and_sub(&s->net_queued, 1);
}

static __always_inline void task_queued(struct task_ctx *t, struct spare_server *s, bool net)
{
	task_unqueued(t);
	if (!net)
		return;
	t->q_cpu = s->cpu;
	t->q_slot = s->slot;
	t->q_id = s->id;
	t->counted = true;
	__sync_fetch_and_add(&s->net_queued, 1);
}

/*
 * Its place in the queue of s (CBS-8). One that waits keeps it when something of it is changed (its affinity, its nice), on another of the VM's CPUs,
 * too. One that was stopped within its turn keeps place and rest: sent back each time, a thread
 * beside others that wake, or one that always comes last before the budget ends, would get next to nothing. Not so while a
 * network thread waits in a THROTTLED server: what is borrowed is for that one (SPARE-3).
 */
static __always_inline void task_place(struct task_ctx *t, const struct spare_server *s, const struct spare_vm *vm, bool net, bool woke,
				       u64 now)
{
	bool front = t->ran_ns < SPARE_TURN_NS, throttled = s->state == SPARE_THROTTLED;
	struct task_struct *head;

	if (t->waits_in == vm->id || (t->turn_left && !throttled))
		return;
	if (t->turn_left && !s->net_queued) {
		head = scx_bpf_dsq_peek(s->dsq);
		t->key = head ? spare_place_stopped(&s->cbs, front, head->scx.dsq_vtime, now) : spare_place(&s->cbs, front, now);
		return;
	}
	t->turn_left = 0;
	t->key = throttled && net && woke && server_waits(s, vm) ? spare_place_served(&s->cbs, now) : spare_place(&s->cbs, front, now);
}

static __always_inline struct spare_server *task_first_server(struct task_struct *p)
{
	s32 cpu = spare_task_next_cpu(p, 0);

	return cpu < 0 ? NULL : server(cpu, spare_task_slot(p, cpu));
}

/* A server of the VM on this CPU that nothing runs in and nothing waits for. */
static __always_inline bool server_free(struct task_struct *p, s32 cpu)
{
	u32 slot = spare_task_slot(p, cpu);
	struct spare_server *s = slot == SPARE_NO_SLOT ? NULL : server(cpu, slot);

	return s && s->dsq && s->state == SPARE_INACTIVE && s->cbs.q_ns > 0;
}

#define task_for_each_cpu(p, i, cpu)						\
	cpu = -1;								\
	bpf_for(i, 0, SPARE_CPUS_MAX)						\
		if ((cpu = spare_task_next_cpu(p, cpu + 1)) < 0)		\
			break;							\
		else

/* The VM's other servers: CPU and slot. */
#define server_for_each_other(s, i, c, o)					\
	c = -1;									\
	bpf_for(i, 0, SPARE_CPUS_MAX)						\
		if ((c = spare_vm_next_cpu((s)->cpu, (s)->slot, c + 1)) < 0)	\
			break;							\
		else if (c != (s32)(s)->cpu && (o = server(c, spare_vm_slot((s)->cpu, (s)->slot, c))))

/*
 * CPU of the VM for p: where it was while its server there is free, else another whose server is, else where it was,
 * else the first that it may run on; -1: none.
 */
__noinline s32 vm_cpu(struct task_struct *p __arg_trusted, s32 prev)
{
	s32 first = -1, cpu;
	bool prev_ok = false;
	int i;

	task_for_each_cpu(p, i, cpu) {
		if (!task_may_run(p, cpu))
			continue;
		if (cpu == prev)
			prev_ok = true;
		else if (first < 0 || (!server_free(p, first) && server_free(p, cpu)))
			first = cpu;
	}
	if (prev_ok && (first < 0 || server_free(p, prev) || !server_free(p, first)))
		return prev;
	return first;
}

static __always_inline bool task_server_elsewhere(struct task_struct *p, s32 cpu)
{
	s32 other = vm_cpu(p, cpu);

	return other >= 0 && other != cpu && spare_task_slot(p, other) != SPARE_NO_SLOT;
}

/*
 * The VM's network thread has just served a packet elsewhere: server o is told, if it is THROTTLED and may borrow, or may bring its deadline
 * nearer.
 */
static __always_inline void service_elsewhere(struct spare_server *o, const struct spare_vm *vm, s32 cpu, u64 seq, u64 now)
{
	if (o->use[0] == SPARE_NO_SLOT)
		return;
	if (o->state != SPARE_THROTTLED && !(o->state == SPARE_READY && server_may_hasten(o, vm, now)))
		return;
	if ((s64)(seq - o->rx_served) > 0)
		o->rx_served = seq;
	__sync_fetch_and_or(&o->pending, SPARE_PEND_SERVICE);
	spare_attend(cpu, o->slot);
}

/* It has, in server `self`. */
__noinline int vm_service_elsewhere(struct spare_vm *vm __arg_nonnull, const struct spare_server *self __arg_nonnull, u64 seq, u64 now)
{
	struct spare_server *o;
	s32 cpu;
	int i;

	server_for_each_other(self, i, cpu, o)
		service_elsewhere(o, vm, cpu, seq, now);
	return 0;
}

/* It has, up to packet seq; who becomes THROTTLED sees it then (boost_check). A full barrier: who becomes so now sees it, or is seen. */
__noinline int vm_served(struct spare_vm *vm __arg_nonnull, u64 seq, u64 now)
{
	u64 old = vm->served_seq, seen;
	int i;

	for (i = 0; i < 4 && (s64)(seq - old) >= 0; i++) {
		vm->served_ns = now;
		seen = __sync_val_compare_and_swap(&vm->served_seq, old, seq);
		if (seen == old)
			break;
		old = seen;	/* another network thread's: only forwards */
	}
	return 0;
}

/* It has, as a stray: p. again: servers that know of the packet are told, too. */
__noinline int vm_service_stray(struct task_struct *p __arg_trusted, struct spare_vm *vm __arg_nonnull, u64 seq, bool again, u64 now)
{
	struct spare_server *o;
	u32 slot;
	s32 cpu;
	int i;

	vm_served(vm, seq, now);
	if (!vm->nr_throttled)
		return 0;
	task_for_each_cpu(p, i, cpu) {
		slot = spare_task_slot(p, cpu);
		o = slot == SPARE_NO_SLOT ? NULL : server(cpu, slot);
		if (o && (again || o->rx_served != vm->rx_seq))
			service_elsewhere(o, vm, cpu, seq, now);
	}
	return 0;
}

static __always_inline bool server_has_sibling(const struct spare_server *s)
{
	s32 first = spare_vm_next_cpu(s->cpu, s->slot, 0);

	return first != (s32)s->cpu || spare_vm_next_cpu(s->cpu, s->slot, first + 1) >= 0;
}

/* Tell the server that a thread was forwarded to. */
static __always_inline void forward_flush(struct cpu_ctx *c)
{
	struct spare_server *s;

	if (c->fwd_slot == SPARE_NO_SLOT)
		return;
	s = server(c->fwd_cpu, c->fwd_slot);
	c->fwd_slot = SPARE_NO_SLOT;
	if (!s)
		return;
	__sync_fetch_and_or(&s->pending, SPARE_PEND_QUEUED);
	spare_attend(s->cpu, s->slot);
}

/*
 * A thread of this CPU's is being queued in a server of another CPU. The kernel inserts it when ops.enqueue has returned, under
 * this CPU's run-queue lock; told now, the other might look before that and find nothing. So this CPU tells it the next
 * time it holds that lock: at the next forward, or in the dispatch for which it is kicked.
 */
static __always_inline void forward(struct cpu_ctx *c, s32 here, s32 cpu, u32 slot, u32 pid)
{
	forward_flush(c);
	c->fwd_cpu = cpu;
	c->fwd_slot = slot;
	c->fwd_pid = pid;
	spare_kick(here);
}

/*
 * In the switch away from the thread itself it is too early still: it is the current task, whose migration the kernel switches off
 * while our program runs, and the other CPU would leave it where it is. Returns whether it is.
 */
static __always_inline bool forward_too_early(const struct cpu_ctx *c)
{
	return c->fwd_slot != SPARE_NO_SLOT && c->fwd_pid == (u32)bpf_get_current_task_btf()->pid;
}

/* A server has become THROTTLED with threads waiting: siblings that have budget and nothing to do may take them over. */
__noinline int server_offer(struct spare_server *s __arg_nonnull)
{
	struct spare_server *o;
	s32 cpu;
	int i;

	server_for_each_other(s, i, cpu, o) {
		if (o->state != SPARE_INACTIVE)
			continue;
		__sync_fetch_and_or(&o->pending, SPARE_PEND_QUEUED);
		spare_attend(cpu, o->slot);
	}
	return 0;
}

/*
 * The same of one that was throttled in a switch, or as its thread went to sleep, in the dispatch that follows. (A kick then would take the
 * slice of who has just been put.)
 */
static __always_inline void offer_due(struct cpu_ctx *c, s32 cpu)
{
	struct spare_server *s;

	if (c->offer == SPARE_NO_SLOT)
		return;
	s = server(cpu, c->offer);
	c->offer = SPARE_NO_SLOT;
	if (s && s->state == SPARE_THROTTLED && server_queued(s))
		server_offer(s);
}

/* Server s has budget again and no thread; does one wait in a sibling that is THROTTLED? */
__noinline int server_sibling_waits(struct spare_server *s __arg_nonnull)
{
	struct spare_vm *vm = server_vm(s);
	struct spare_server *o;
	s32 cpu;
	int i;

	if (!vm || !vm->nr_throttled)
		return 0;
	server_for_each_other(s, i, cpu, o)
		if (o->state == SPARE_THROTTLED && server_queued(o))
			return 1;
	return 0;
}

/*
 * No thread of s runs or waits any more: it is INACTIVE from now on (a deadline that passes while they sleep is not missed), and
 * needs its provider no more. It stays READY to take over threads of a sibling.
 */
static __always_inline void server_asleep(struct cpu_ctx *c, struct spare_server *s, u64 now)
{
	if (server_queued(s))
		return;
	if (s->state != SPARE_THROTTLED)
		spare_mark_clear(&s->mark);
	boost_let_go(c, s, now);
	if (is_ready(c, s->slot) && s->borrower == SPARE_NO_SLOT && !server_sibling_waits(s))
		server_inactive(c, s, now);
}

/*
 * To this CPU's local queue the first of another's queue that may run here. The kernel would look at each one, with both locks held: so not
 * before one of the `first` is seen to fit, or a crowd that is bound to its CPU would hold up every CPU that has nothing to do.
 */
__noinline int take_from(u64 dsq, u32 cpu, u32 first)
{
	struct cpu_ctx *c = cpu_ctx(cpu);
	struct task_struct *p;
	bool fits = false;

	if (!c)
		return false;
	c->host.scan = 0;	/* (in memory, or the verifier would follow each round) */
	bpf_for_each(scx_dsq, p, dsq, 0) {
		fits = bpf_cpumask_test_cpu(cpu, p->cpus_ptr) && !p->migration_disabled;
		if (fits || ++c->host.scan >= first)
			break;
	}
	return fits && dsq_move_to_local(dsq);
}

/* Server s has budget and no thread: take one over from a sibling that is THROTTLED. */
__noinline int server_pull(struct spare_server *s __arg_nonnull)
{
	struct spare_vm *vm = server_vm(s);
	struct spare_server *o;
	u32 most;
	s32 cpu;
	int i;

	if (!vm || !vm->nr_throttled)
		return false;
	most = look_most(&s->look_ns);
	server_for_each_other(s, i, cpu, o) {
		if (o->state == SPARE_THROTTLED && o->dsq && take_from(o->dsq, s->cpu, most)) {
			s->st.migrated++;
			return true;
		}
	}
	return false;
}

/* prev may go on in the host's share: a host task, or a stray that has no server here nor may go to one. */
static __always_inline bool task_stays_host(struct task_struct *prev, s32 cpu)
{
	return !task_vm(prev) || (spare_task_slot(prev, cpu) == SPARE_NO_SLOT && !task_server_elsewhere(prev, cpu));
}

#endif
