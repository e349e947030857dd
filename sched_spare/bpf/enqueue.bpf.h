/* SPDX-License-Identifier: GPL-2.0 */
/* enqueue.bpf.h - a thread of a VM becomes runnable: which of its servers it waits in, and whether that takes the CPU (CBS-1, CBS-8). */
#ifndef SPARE_ENQUEUE_BPF_H
#define SPARE_ENQUEUE_BPF_H

#include "spare.bpf.h"
#include <sched_spare/abi.h>
#include <sched_spare/cbs.h>
#include <sched_spare/pool.h>
#include "kfuncs.bpf.h"
#include "compat.bpf.h"
#include "cpu.bpf.h"
#include "boost.bpf.h"
#include "task.bpf.h"
#include "guard.bpf.h"
#include "host_group.bpf.h"
#include "host_limit.bpf.h"
#include "host.bpf.h"

/* Should the thread just queued in s, which is not THROTTLED, take the CPU from whoever has it? */
static __always_inline bool preempts(struct cpu_ctx *c, const struct spare_server *s, bool front)
{
	const struct spare_server *by;

	if (c->cur == SPARE_NO_SLOT)
		return true;
	if (c->cur == s->slot)
		return front;
	by = server(s->cpu, c->by);
	/* Who pays may be THROTTLED, in a dispatch that has let go of the lock since: it has perhaps looked at the servers before. */
	return !by || !is_ready(c, by->slot) || spare_before(spare_deadline(&s->far, &s->cbs), spare_deadline(&by->far, &by->cbs));
}

/* The server in which p, whose CPU's lock is held, is to wait: of that CPU, else of another of its VM's; NULL: none. */
static __always_inline struct spare_server *server_for(struct task_struct *p, struct cpu_ctx *c, u64 now)
{
	s32 here = task_cpu(p), cpu = here;
	u32 slot = task_may_run(p, here) ? spare_task_slot(p, here) : SPARE_NO_SLOT;
	struct spare_server *s;

	if (slot == SPARE_NO_SLOT) {
		cpu = vm_cpu(p, here);
		slot = cpu < 0 ? SPARE_NO_SLOT : spare_task_slot(p, cpu);
	}
	s = slot == SPARE_NO_SLOT ? NULL : server(cpu, slot);
	if (s && cpu == here && server_is_news(s))
		server_configure(c, s, now);
	if (!s || s->dsq)
		return s;
	spare_attend(cpu, slot);	/* it is not configured yet */
	return NULL;
}

/* p has come into s, on this CPU: what the server makes of it, and the CPU. */
static __always_inline void server_gets(struct cpu_ctx *c, s32 cpu, struct spare_server *s, struct spare_vm *vm, struct task_struct *p, bool front,
					bool net, u64 now)
{
	bool put = c->put_pid == (u32)p->pid, woken = s->state == SPARE_INACTIVE;

	c->queued_seq++;
	c->put_pid = 0;
	if (woken)
		server_wake(c, s, now);
	if (s->state == SPARE_THROTTLED) {
		boost_check(c, s, now);
		/*
		 * No server of the VM idles while this one is throttled: once the thread is queued, siblings are told. Of one that is bound, too: what it
		 * puts when dispatch has throttled the server is the only offer for all others in the queue.
		 */
		if (server_has_sibling(s)) {
			__sync_fetch_and_or(&s->pending, SPARE_PEND_OFFER);
			spare_attend(cpu, s->slot);
		}
	} else if (net && server_waits(s, vm))
		server_hasten(c, s, now);
	/* A thread is put after dispatch has chosen, and a kick of now is forgotten. Whoever was chosen looks for himself (run_begins). */
	if (put && s->state == SPARE_THROTTLED && server_has_sibling(s))
		c->look = LOOK_RUN;
	else if (put && (woken || (s->state == SPARE_THROTTLED && s->lender != SPARE_NO_SLOT)))
		c->look = LOOK_IDLE;
	else if (!put && (s->state == SPARE_THROTTLED || preempts(c, s, front)))
		spare_kick(cpu);	/* (a replenishment needs the timer of that CPU) */
}

/* A thread of a VM becomes runnable, or a host task for which there is no short cut. */
__noinline int queue_task(struct task_struct *p __arg_trusted, u64 enq_flags)
{
	struct spare_vm *vm = task_vm(p);
	struct task_ctx *t = vm ? task_ctx(p) : NULL;
	struct cpu_ctx *c = t ? cpu_ctx(task_cpu(p)) : NULL;
	struct spare_server *s;
	s32 here = task_cpu(p);
	bool net;
	u64 now;

	if (!t)
		return host_enqueue(p, enq_flags);
	now = bpf_ktime_get_ns();
	/* (A vCPU reads no tap.) */
	if (enq_flags & SCX_ENQ_WAKEUP && spare_task_receives(p) && task_kind(p) != SPARE_KIND_VCPU)
		t->net = true;
	if (enq_flags & SCX_ENQ_WAKEUP)
		t->ran_ns = t->turn_left = t->waits_in = 0;
	net = is_net(p, t);
	s = c ? server_for(p, c, now) : NULL;
	if (!s || !c) {
		/* It is the host's, paid from its VM's budget (stray.bpf.h). */
		task_unqueued(t);
		return host_enqueue(p, enq_flags);
	}
	if (t->group)
		group_uncount(t);	/* the host's until now */
	if (t->grant_ns)
		limit_return(t);
	if (vm->guard.cfg && guard_holds(c, p, s, enq_flags))
		return 0;
	task_queued(t, s, net);
	task_place(t, s, vm, net, enq_flags & SCX_ENQ_WAKEUP, now);
	t->waits_in = vm->id;
	/* (No group counts it now.) */
	dsq_insert_vtime(p, s->dsq, SPARE_SLICE_NS, t->key & ~SPARE_VTIME_COUNTED, enq_flags);
	if (s->cpu == (u32)here) {
		server_gets(c, here, s, vm, p, t->ran_ns < SPARE_TURN_NS, net, now);
		return 0;
	}
	s->st.migrated++;
	forward(c, here, s->cpu, s->slot, p->pid);
	return 0;
}

#endif
