/* SPDX-License-Identifier: GPL-2.0 */
/*
 * guard.bpf.h - a VM's vhost workers have a budget of their own within its reservation (GUARD-2).
 *
 * While spare.net.max leaves nothing, a worker waits in a queue of its CPU's, and the guest's own queue with it: nothing is lost. Its run ends, by the
 * timer, with what is left, or with a turn. One that waits is no network thread that waits for a packet: its VM borrows nothing for it.
 */
#ifndef SPARE_GUARD_BPF_H
#define SPARE_GUARD_BPF_H

#include "spare.bpf.h"
#include <sched_spare/abi.h>
#include <sched_spare/cbs.h>
#include <sched_spare/guard.h>
#include "kfuncs.bpf.h"
#include "compat.bpf.h"
#include "cost.bpf.h"
#include "cpu.bpf.h"
#include "boost.bpf.h"
#include "task.bpf.h"

#define SPARE_GUARD_SCAN 64	/* let go at once; the others SPARE_GUARD_REST_NS later */
#define SPARE_GUARD_REST_NS 1000000ULL

__noinline int is_worker(struct task_struct *p __arg_trusted)
{
	return spare_is_worker(p->flags, p->comm);
}

static __always_inline bool guard_limits(const struct spare_vm *vm, struct task_struct *p)
{
	return vm->guard.cfg && is_worker(p);
}

/* What is left, with the softirqs that the meter has counted by now. */
__noinline s64 guard_budget(struct spare_vm *vm __arg_nonnull, u64 now)
{
	u64 id = vm->id, *cost = bpf_map_lookup_elem(&costs, &id);

	if (cost && *cost)
		spare_guard_count(&vm->guard, *cost);
	return spare_guard_left(&vm->guard, now);
}

/* Until when a worker of the VM has to wait; 0: it need not. */
__noinline u64 guard_due(struct spare_vm *vm __arg_nonnull, u64 now)
{
	return spare_guard_due(&vm->guard, guard_budget(vm, now), now);
}

/* What one that begins to run now may run at least. */
__noinline u64 guard_may(struct spare_vm *vm __arg_nonnull, u64 now)
{
	return spare_guard_may(&vm->guard, guard_budget(vm, now), now);
}

/* The same of a stray. */
__noinline u64 guard_due_stray(struct task_struct *p __arg_trusted, u64 now)
{
	struct spare_vm *vm = task_vm(p);

	return vm && guard_limits(vm, p) ? guard_due(vm, now) : 0;
}

__noinline int guard_charge(struct spare_vm *vm __arg_nonnull, u64 ns, u64 now)
{
	spare_guard_charge(&vm->guard, ns);
	vm->guard.worker_ns = now;
	return 0;
}

/* A worker has run in that server. */
__noinline int guard_pays(s32 cpu, u32 slot, u64 ns, u64 now)
{
	struct spare_server *s = server(cpu, slot);
	struct spare_vm *vm = s ? server_vm(s) : NULL;

	return vm ? guard_charge(vm, ns, now) : 0;
}

/*
 * What a worker of s that has had c->run_ns may run on before it is looked at again: a turn at most, as others of its VM run meanwhile. 0: it has had what it
 * may (c->may_ns, from when it began), and nothing is left.
 */
__noinline u64 guard_left(const struct cpu_ctx *c __arg_nonnull, const struct spare_server *s __arg_nonnull, u64 now)
{
	s64 least = c->may_ns > c->run_ns ? c->may_ns - c->run_ns : 0, left, most;
	struct spare_vm *vm = server_vm(s);

	if (!vm)
		return least;
	left = guard_budget(vm, now);
	most = spare_guard_turn(&vm->guard);
	if (left > most)
		left = most;
	return left > least ? left : least;
}

/* The current thread, a worker, has had that. */
__noinline int guard_ends(const struct cpu_ctx *c __arg_nonnull, s32 cpu, u64 now)
{
	struct spare_server *s = server(cpu, c->cur);

	return s && !guard_left(c, s, now);
}

/* p, which would wait in s, waits for its limit instead. */
__noinline int guard_holds(struct cpu_ctx *c __arg_nonnull, struct task_struct *p __arg_trusted, struct spare_server *s __arg_nonnull, u64 enq_flags)
{
	struct spare_vm *vm = server_vm(s);
	struct task_ctx *t = task_ctx(p);
	/* (Queued from another CPU it has a turn first.) */
	u64 due = t && vm && s->cpu == (u32)task_cpu(p) && is_worker(p) ? guard_due(vm, bpf_ktime_get_ns()) : 0;

	if (!due || !t || !vm)
		return 0;
	task_unqueued(t);
	t->waits_in = t->turn_left = 0;
	spare_guard_hold(&vm->guard);
	if (spare_guard_news(&vm->guard))
		vm_event(s, SPARE_EV_GUARDED);
	dsq_insert_vtime(p, SPARE_DSQ_GUARD | s->cpu, SPARE_SLICE_NS, due, enq_flags);
	if (!c->guard_ns || spare_before(due, c->guard_ns)) {
		c->guard_ns = due;
		/* (Of a thread that is put, whoever runs next, or idleness, sees to the timer.) */
		if (c->put_pid != (u32)p->pid)
			spare_kick(s->cpu);
	}
	c->put_pid = 0;
	return 1;
}

/* What the server makes of it that a worker goes on in it, where it is queued now. */
__noinline int guard_goes_on(struct cpu_ctx *c __arg_nonnull, s32 cpu, u32 slot, u64 now)
{
	struct spare_server *s = server(cpu, slot);

	if (!s)
		return 0;
	c->queued_seq++;
	if (s->state == SPARE_INACTIVE)
		server_wake(c, s, now);
	if (s->state == SPARE_THROTTLED) {
		boost_check(c, s, now);
		server_offer(s);
	} else {
		server_hasten_waiting(c, s, now);
	}
	return 0;
}

/* Its place in the queue of that server; 0: its VM has none here any more. */
__noinline u64 guard_place(struct task_struct *p __arg_trusted, s32 cpu, u32 slot, u64 now)
{
	struct spare_server *s = slot == SPARE_NO_SLOT ? NULL : server(cpu, slot);
	struct spare_vm *vm = s && s->dsq ? server_vm(s) : NULL;
	struct task_ctx *t = vm ? task_ctx(p) : NULL;

	if (!t || !s)
		return 0;
	/* (With nothing left it borrows nothing.) */
	task_queued(t, s, is_net(p, t) && guard_budget(vm, now) > 0);
	task_place(t, s, vm, t->counted, true, now);
	t->waits_in = vm->id;
	return t->key & ~SPARE_VTIME_COUNTED;
}

/* Those that are due go on in their servers; all, where there is none left on this CPU. */
__noinline int guard_release(struct cpu_ctx *c __arg_nonnull, s32 cpu, u64 now)
{
	bool all = !c->host.servers;
	struct task_struct *p;
	struct spare_server *s;
	u32 slot;
	u64 key;

	c->guard_ns = 0;
	c->host.scan = 0;
	bpf_for_each(scx_dsq, p, SPARE_DSQ_GUARD | (u32)cpu, 0) {
		if (!all && spare_before(now, p->scx.dsq_vtime)) {
			c->guard_ns = p->scx.dsq_vtime;
			break;
		}
		if (!all && c->host.scan++ >= SPARE_GUARD_SCAN) {
			c->guard_ns = now + SPARE_GUARD_REST_NS;
			break;
		}
		slot = spare_task_slot(p, cpu);
		key = guard_place(p, cpu, slot, now);
		s = key ? server(cpu, slot) : NULL;
		if (!s) {
			/* The host's, and so a stray. */
			scx_bpf_dsq_move_set_vtime(BPF_FOR_EACH_ITER, c->host.vnow & ~SPARE_VTIME_COUNTED);
			scx_bpf_dsq_move_vtime(BPF_FOR_EACH_ITER, p, host_dsq(cpu), 0);
			c->host.queued = 1;
			continue;
		}
		scx_bpf_dsq_move_set_vtime(BPF_FOR_EACH_ITER, key);
		scx_bpf_dsq_move_vtime(BPF_FOR_EACH_ITER, p, s->dsq, 0);
		guard_goes_on(c, cpu, slot, now);
	}
	return 0;
}

#endif
