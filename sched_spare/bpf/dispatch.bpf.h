/* SPDX-License-Identifier: GPL-2.0 */
/*
 * dispatch.bpf.h - what ops.dispatch does before and with its choice: what others left for this CPU, what is due (CBS-4), a
 * server's next thread (CBS-8).
 */
#ifndef SPARE_DISPATCH_BPF_H
#define SPARE_DISPATCH_BPF_H

#include "spare.bpf.h"
#include <sched_spare/abi.h>
#include <sched_spare/cbs.h>
#include <sched_spare/edf.h>
#include <sched_spare/spare.h>
#include "kfuncs.bpf.h"
#include "compat.bpf.h"
#include "cpu.bpf.h"
#include "boost.bpf.h"
#include "task.bpf.h"
#include "host_limit.bpf.h"
#include "host.bpf.h"
#include "account.bpf.h"
#include "life.bpf.h"

/* Servers that are withdrawn and still have threads are asked again. */
__noinline int attend_again(struct cpu_ctx *c __arg_nonnull, s32 cpu, u64 now)
{
	struct spare_server *s;
	int slot;

	if (spare_before(now, c->again_ns))
		return 0;
	c->again_ns = 0;
	bpf_for(slot, 0, SPARE_SLOTS) {
		s = server(cpu, slot);
		if (s && s->flags & SPARE_F_DYING && !server_drop(c, s, now))
			c->again_ns = now + SPARE_ADOPT_NS;
	}
	return 0;
}

/* What others left for this CPU's servers since it last looked. */
__noinline int attend(struct cpu_ctx *c __arg_nonnull, s32 cpu, u32 slot, u64 now)
{
	struct spare_server *s;
	bool news;
	u32 want;
	int i;

	bpf_for(i, 0, SPARE_SLOTS) {
		if (i)
			slot = spare_attention(cpu);
		if (slot == SPARE_NO_SLOT)
			break;
		s = server(cpu, slot);
		if (!s)
			continue;
		if (s->flags & SPARE_F_DYING) {
			if (!server_drop(c, s, now))
				c->again_ns = now + SPARE_ADOPT_NS;
			continue;
		}
		news = server_is_news(s);
		if (news)
			server_configure(c, s, now);
		want = __sync_lock_test_and_set(&s->pending, 0);
		/* It may be born while a sibling is THROTTLED with threads. */
		if (news && server_sibling_waits(s))
			want |= SPARE_PEND_QUEUED;
		if (want & SPARE_PEND_OFFER && s->state == SPARE_THROTTLED && server_queued(s))
			server_offer(s);
		if (want & SPARE_PEND_QUEUED && s->state == SPARE_INACTIVE)
			server_wake(c, s, now);
		if (want & SPARE_PEND_SERVICE) {
			s->svc_pending = 1;
			s->owed_ns = server_grant(s);
			/* What it borrows was for an earlier packet. */
			if (s->mark.phase == SPARE_MARK_SERVED)
				spare_mark_wake(&s->mark, now);
			/* The network thread that this one had marked for has run in a sibling. */
			if (s->mark.phase == SPARE_MARK_WOKEN && !s->net_queued)
				spare_mark_serve(&s->mark);
		}
		if (s->state == SPARE_INACTIVE)
			server_settle(s, now);
		if (s->state == SPARE_THROTTLED)
			boost_check(c, s, now);
		else if (want)
			server_hasten_waiting(c, s, now);
	}
	return 0;
}

/* The first in its queue has waited for a quarter of what the watchdog bears; its place says since when. */
static __always_inline bool server_first_waits(const struct spare_server *s, u64 now)
{
	struct task_struct *head = s->dsq ? scx_bpf_dsq_peek(s->dsq) : NULL;

	return head && spare_before(head->scx.dsq_vtime + SPARE_WATCHDOG_NS / 4, now);
}

/* Replenish what is due (CBS-4). */
__noinline int replenish(struct cpu_ctx *c __arg_nonnull, s32 cpu, u64 now)
{
	struct spare_server *s, *b;
	u32 slot;
	u64 key, most;
	bool runs;
	int i;

	bpf_for(i, 0, 2 * SPARE_SLOTS) {
		slot = spare_edf_top(&c->throttled, &key);
		if (slot == SPARE_NO_SLOT || spare_before(now, key))
			break;
		s = server(cpu, slot);
		if (!s) {
			heap_del(&c->throttled, slot);
			continue;
		}
		s->st.periods++;
		s->strayed_ns = 0;
		server_credit(s, now);
		runs = s->cbs.q_ns > 0;
		spare_trace(cpu, slot, SPARE_TRACE_REPLENISH, SPARE_NO_SLOT);
		s->valve_ns = spare_valve_ns(&s->cbs, debt_budget(s), server_queued(s), s->valve_ns);
		/*
		 * What its real-time threads and strays owe may grow for ever, and they may take most of each budget before the queue comes to it: who
		 * has waited for long gets a turn before the watchdog looks (CBS-7).
		 */
		if (s->valve_ns <= 0 && server_first_waits(s, now)) {
			/* No more in a period than serves all of them within T/4, or than the budget. */
			most = spare_crowd_ns(&s->cbs, server_queued(s));
			if (most < s->cbs.runtime_ns)
				most = s->cbs.runtime_ns;
			if (most > s->cbs.period_ns / 2)
				most = s->cbs.period_ns / 2;
			s->valve_ns = server_queued(s) * SPARE_TURN_MIN_NS;
			if (s->valve_ns > (s64)most)
				s->valve_ns = most;
		}
		if (!runs && s->valve_ns <= 0) {
			heap_put(&c->throttled, slot, s->cbs.d_ns);
			/* A period's worth of debt is paid: it may borrow again (SPARE-6). */
			if (s->mark.phase != SPARE_UNMARKED)
				boost_check(c, s, now);
			continue;
		}
		server_unthrottle(c, s, now);
		b = s->borrower == SPARE_NO_SLOT ? NULL : server(cpu, s->borrower);
		if (c->cur == slot || server_queued(s) || (b && (c->cur == b->slot || server_queued(b))) || server_sibling_waits(s)) {
			server_ready(c, s);
			server_was_due(c, s, key, now);
		}
		boost_replenished(c, s, now);
	}
	return 0;
}

/*
 * What is borrowed is for the network thread (SPARE-3). It may have become runnable before the budget ended, and stand behind others that had:
 * now it goes before them. Returns whether it was found.
 */
__noinline int net_to_front(struct cpu_ctx *c __arg_nonnull, u64 dsq)
{
	struct task_struct *p = scx_bpf_dsq_peek(dsq);
	struct task_ctx *t = p ? task_ctx(p) : NULL;
	u64 first;

	if (!p || (t && t->counted))
		return 1;
	first = (p->scx.dsq_vtime - 1) & ~SPARE_VTIME_COUNTED;
	c->host.scan = 0;
	bpf_for_each(scx_dsq, p, dsq, 0) {
		t = task_ctx(p);
		if (t && t->counted) {
			scx_bpf_dsq_move_set_vtime(BPF_FOR_EACH_ITER, first);
			scx_bpf_dsq_move_vtime(BPF_FOR_EACH_ITER, p, dsq, 0);
			return 1;
		}
		if (++c->host.scan >= SPARE_TAKE_ASKED)
			break;
	}
	return 0;
}

/*
 * Let server `by` run a thread of s (itself, or the one it lends to). prev: the current thread, if it is a runnable one of s; else NULL.
 * Returns false when s has nothing to run here.
 */
__noinline int run_from(struct cpu_ctx *c __arg_nonnull, struct spare_server *s __arg_nonnull, struct spare_server *by __arg_nonnull,
			struct task_struct *prev __arg_trusted __arg_nullable, u64 now)
{
	struct task_struct *head;
	struct spare_server *paid;
	u64 dsq = s->dsq;
	bool keep = prev;

	if (!dsq)
		return false;
	if (keep && scx_bpf_dsq_nr_queued(dsq)) {
		/* CBS-8: a thread that woke goes before one that burns; else turns. */
		head = scx_bpf_dsq_peek(dsq);
		if (!spare_before(now, c->turn_end_ns) ||
		    (head && !spare_before(now, head->scx.dsq_vtime) && !task_front(prev)))
			keep = false;
	}
	if (by->slot != s->slot && s->mark.phase == SPARE_MARK_WOKEN && s->net_queued) {
		/* Behind more than that: the grant is for whoever runs, and ends. */
		if (!net_to_front(c, dsq))
			spare_mark_serve(&s->mark);
		keep = false;
	}
	if (!keep && dsq_move_to_local(dsq)) {
		c->pick = s->slot;
		c->pick_by = by->slot;
		return true;
	}
	/* (While a move let go of the lock, prev may have been changed, and charged: its budget may be spent.) */
	if (!prev || (!keep && !is_ready(c, by->slot)))
		return false;
	scx_bpf_task_set_slice(prev, SPARE_SLICE_NS);
	if (!spare_before(now, c->turn_end_ns)) {
		c->turn_end_ns = now + server_turn(s);
		c->turn_longer_ns = 0;
	}
	if (by->slot != s->slot && c->by != by->slot)
		s->mark.chances++;
	paid = c->by == by->slot ? NULL : server(s->cpu, c->by);
	if (paid && paid->state == SPARE_RUNNING)
		paid->state = SPARE_READY;
	c->cur = s->slot;
	c->by = by->slot;
	by->state = SPARE_RUNNING;
	arm_timer(c, s->cpu, now);
	return true;
}

/* What the host has before the servers: pinned kernel threads, and its floor. prev: a host task that may go on. Returns whether somebody runs. */
static __always_inline bool host_goes_first(struct cpu_ctx *c, s32 cpu, struct task_struct *prev, u64 now)
{
	struct task_struct *rest = prev && !is_percpu_kthread(prev) ? prev : NULL;

	c->host.kthread_wait = kthread_waits(c);
	if (!c->host.kthread_wait && kthread_dispatch(c, cpu, prev))
		return true;
	if (!host_floor_due(&c->host, rest, now) || !host_dispatch(&c->host, cpu, rest))
		return false;
	host_floor_limit(&c->host);
	arm_next(c, cpu);
	return true;
}

/*
 * The first of the servers that has a thread to run, by deadline (CBS-5), or whom it lends to. prev is a runnable thread of the server in slot `cur`, unless
 * that is SPARE_NO_SLOT. Returns whether one runs.
 */
__noinline int servers_dispatch(struct cpu_ctx *c __arg_nonnull, s32 cpu, struct task_struct *prev __arg_trusted __arg_nullable, u32 cur, u64 now)
{
	struct spare_server *by, *s;
	u32 slot, seq;
	u64 key;
	int i;

	bpf_for(i, 0, SPARE_SLOTS) {
		slot = spare_edf_top(&c->ready, &key);
		if (slot == SPARE_NO_SLOT)
			break;
		by = server(cpu, slot);
		if (!by) {
			heap_del(&c->ready, slot);
			continue;
		}
		s = by->borrower == SPARE_NO_SLOT ? NULL : server(cpu, by->borrower);
		seq = c->queued_seq;
		if (s && run_from(c, s, by, cur == s->slot ? prev : NULL, now))
			return true;
		if (run_from(c, by, by, cur == slot ? prev : NULL, now))
			return true;
		if (!is_ready(c, slot))
			continue;
		if (server_pull(by)) {
			c->pick = c->pick_by = slot;
			return true;
		}
		/* While a move let go of the lock, another CPU has queued a thread here: it may be this server's. */
		if (*(volatile u32 *)&c->queued_seq != seq)
			continue;
		server_inactive(c, by, now);
		/* A marked server whose threads all sleep after first service, or have gone, needs its provider no more. */
		if (s) {
			boost_let_go(c, s, now);
			boost_settle(c, s, now);
		}
	}
	return false;
}

#endif
