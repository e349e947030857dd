/* SPDX-License-Identifier: GPL-2.0 */
/*
 * boost.bpf.h - spare bandwidth: marks, claims and releases on one CPU (SPARE-2 ... SPARE-5, SPARE-8).
 *
 * A marked server that is THROTTLED claims the first free provider of its list; the provider then wakes by the CBS rule
 * and competes by its own deadline, and whatever runs is charged to it. The mark's life is in spare.h.
 */
#ifndef SPARE_BOOST_BPF_H
#define SPARE_BOOST_BPF_H

#include "spare.bpf.h"
#include <sched_spare/abi.h>
#include <sched_spare/cbs.h>
#include <sched_spare/edf.h>
#include <sched_spare/pool.h>
#include <sched_spare/spare.h>
#include "kfuncs.bpf.h"
#include "cpu.bpf.h"

static __always_inline bool uses(const struct spare_server *s, u32 provider)
{
	int i;

	for (i = 0; i < SPARE_USE_MAX; i++)
		if (s->use[i] == provider)
			return true;
	return false;
}

static __always_inline void lend(struct cpu_ctx *c, struct spare_server *v, struct spare_server *s, u64 now)
{
	v->borrower = s->slot;
	s->lender = v->slot;
	s->st.granted++;
	v->st.granted++;
	heap_del(&c->waiting, s->slot);
	vm_event(s, SPARE_EV_BOOSTED);
	spare_trace(s->cpu, s->slot, SPARE_TRACE_GRANT, v->slot);
	server_wake(c, v, now);
}

/* Whoever drains the tap now has drained the last packet, too: it is no longer on its way there. */
static __always_inline bool vm_drained(const struct spare_vm *vm, u64 now)
{
	return spare_before(vm->rx_ns + SPARE_DRAINED_NS, now);
}

enum claim_else {
	CLAIM_OR_WAIT,	/* in the order of arrival (SPARE-5) */
	CLAIM_OR_LOSE,	/* loss mode */
	CLAIM_OR_NOT,	/* it was nobody's first service: not counted */
};

enum provider_delay : __s64 {
	PROVIDER_NONE = -2,
	PROVIDER_CLAIMED = -1,
};

/* spare_pool_delay() of the provider in this slot. */
__noinline s64 provider_delay(struct cpu_ctx *c __arg_nonnull, s32 cpu, u32 slot, u64 now)
{
	struct spare_server *v = server(cpu, slot);

	if (!v || v->flags & SPARE_F_DYING)
		return PROVIDER_NONE;
	if (server_is_news(v))
		server_configure(c, v, now);
	if (!v->dsq)
		return PROVIDER_NONE;
	return v->borrower == SPARE_NO_SLOT ? (s64)spare_pool_delay(&v->cbs, now) : PROVIDER_CLAIMED;
}

/* The unclaimed provider that can serve first, in the order of spare.use; else as it says. */
__noinline int boost_claim(struct cpu_ctx *c __arg_nonnull, struct spare_server *s __arg_nonnull, u32 or_else, u64 now)
{
	u32 first = SPARE_NO_SLOT, free = SPARE_NO_SLOT, slot;
	s64 delay, least = 0;
	struct spare_server *v;
	int i;

	bpf_for(i, 0, SPARE_USE_MAX) {
		if (i < 0 || i >= SPARE_USE_MAX)
			break;
		slot = s->use[i];
		if (slot == SPARE_NO_SLOT)
			break;
		delay = provider_delay(c, s->cpu, slot, now);
		if (delay == PROVIDER_NONE)
			continue;
		if (first == SPARE_NO_SLOT)
			first = slot;
		if (delay == PROVIDER_CLAIMED)
			continue;
		if (free == SPARE_NO_SLOT || delay < least) {
			free = slot;
			least = delay;
		}
		if (!least)
			break;
	}
	v = server(s->cpu, free);
	if (v) {
		lend(c, v, s, now);
		return 1;
	}
	if (or_else != CLAIM_OR_NOT && !spare_edf_has(&c->waiting, s->slot)) {
		s->st.blocked++;
		v = server(s->cpu, first);
		if (v)
			v->st.blocked++;
		if (or_else == CLAIM_OR_WAIT)
			heap_put(&c->waiting, s->slot, s->mark.since_ns);
	}
	return 0;
}

int server_sibling_waits(struct spare_server *s __arg_nonnull);	/* task.bpf.h */

/* Give the provider back, and on to whoever has waited longest for it. */
__noinline int boost_release(struct cpu_ctx *c __arg_nonnull, struct spare_server *s __arg_nonnull, u64 now)
{
	struct spare_server *v, *w;
	u32 best = SPARE_NO_SLOT, slot;
	u64 best_key = 0, key;
	int i;

	heap_del(&c->waiting, s->slot);
	if (s->lender == SPARE_NO_SLOT)
		return 0;
	v = server(s->cpu, s->lender);
	s->lender = SPARE_NO_SLOT;
	if (!v)
		return 0;
	v->borrower = SPARE_NO_SLOT;
	if (spare_edf_has(&c->ready, v->slot) && !server_queued(v) && !server_sibling_waits(v))
		server_inactive(c, v, now);
	/* With one pool on a CPU the first that waits is the one; with several, the first that may use this provider. */
	slot = spare_edf_top(&c->waiting, &key);
	w = slot == SPARE_NO_SLOT ? NULL : server(v->cpu, slot);
	if (w && uses(w, v->slot))
		best = slot;
	bpf_for(i, 2, SPARE_SLOTS) {
		if (i > c->waiting.n || (i == 2 && best != SPARE_NO_SLOT))
			break;
		slot = c->waiting.node[SPARE_EDF_IDX(i)].slot;
		key = c->waiting.node[SPARE_EDF_IDX(i)].key;
		if (best != SPARE_NO_SLOT && !spare_before(key, best_key))
			continue;
		w = server(v->cpu, slot);
		if (w && uses(w, v->slot)) {
			best = slot;
			best_key = key;
		}
	}
	w = best == SPARE_NO_SLOT ? NULL : server(v->cpu, best);
	if (w && !(v->flags & SPARE_F_DYING))
		lend(c, v, w, now);
	return 0;
}

static __always_inline void count_denied(struct spare_server *s)
{
	s->st.denied++;
	vm_event(s, SPARE_EV_DENIED);
	spare_trace(s->cpu, s->slot, SPARE_TRACE_DENY, SPARE_NO_SLOT);
}

/* The packet gets no provider; it waits for the VM's own budget, and a later one may try again (SPARE-5, loss mode). */
static __always_inline void boost_deny(const struct spare_vm *vm, struct spare_server *s)
{
	s->rx_denied = vm->rx_seq;
	s->svc_pending = s->owed_ns = 0;
	count_denied(s);
	spare_mark_clear(&s->mark);
}

/* (Verified alone.) */
__noinline int may_borrow(struct spare_vm *vm __arg_nonnull, const struct spare_server *s __arg_nonnull, u64 delta, u64 now)
{
	return spare_may_borrow(vm, s, delta, now);
}

/* delta of s's run was the provider's (SPARE-6). Returns whether s may borrow on. */
static __always_inline bool boost_charge(struct spare_server *s, struct spare_server *by, struct spare_vm *vm, u64 delta, u64 now)
{
	bool more = may_borrow(vm, s, delta, now);

	by->st.lent_ns += delta;
	s->st.boost_ns += delta;
	s->mark.used_ns += delta;
	if (vm->flags & SPARE_VM_PAYBACK)
		__sync_fetch_and_add(&s->debt_ns, delta);
	return more;
}

/*
 * The packet was picked up shortly before the budget ended, and its vCPU has not run for the whole grant: a free provider lends the rest.
 * First service was given, so nobody waits for that and nothing is counted.
 */
static __always_inline int boost_rest(struct cpu_ctx *c, struct spare_server *s, struct spare_vm *vm, u64 now)
{
	spare_mark_resume(&s->mark, now, vm->grant_ns, s->owed_ns);
	s->owed_ns = 0;
	if (may_borrow(vm, s, 0, now) && boost_claim(c, s, CLAIM_OR_NOT, now))
		return 1;
	spare_mark_clear(&s->mark);
	return 0;
}

/*
 * Ask of a THROTTLED server whether a packet waits for it, and borrow when it does. Called when it becomes THROTTLED,
 * when a thread is queued in it and when its CPU was kicked for it. Whatever comes last sees all that came before.
 */
__noinline int boost_check(struct cpu_ctx *c __arg_nonnull, struct spare_server *s __arg_nonnull, u64 now)
{
	struct spare_vm *vm = server_vm(s);
	struct spare_server *v;
	u64 seq, since;
	bool waits;

	if (!vm || s->state != SPARE_THROTTLED || s->use[0] == SPARE_NO_SLOT)
		return 0;
	/* What a network thread of another CPU has served; the vCPU may have had no time for it. */
	seq = vm->served_seq;
	if ((s64)(seq - s->rx_served) > 0 && !s->net_queued) {
		s->rx_served = seq;
		since = spare_before(vm->served_ns, now) ? now - vm->served_ns : 0;	/* (another CPU's clock reading) */
		if (since < vm->grant_ns) {
			s->svc_pending = 1;
			s->owed_ns = vm->grant_ns - since;
		}
	}
	waits = spare_pool_due(vm->rx_seq, s->rx_served, s->rx_denied);
	if (waits)
		spare_mark_arrive(&s->mark, vm->rx_ns);
	if (waits && s->net_queued) {
		spare_mark_wake(&s->mark, vm->rx_ns);
	} else if (s->svc_pending && !spare_mark_eligible(&s->mark)) {
		/* The packet was picked up just before the budget ended; its vCPU has yet to run. */
		spare_mark_wake(&s->mark, now);
		spare_mark_serve(&s->mark);
	} else if (s->owed_ns && !waits && !spare_mark_eligible(&s->mark)) {
		return boost_rest(c, s, vm, now);
	}
	if (!spare_mark_eligible(&s->mark) || !may_borrow(vm, s, 0, now))
		return 0;
	if (s->lender == SPARE_NO_SLOT) {
		if (!(vm->flags & SPARE_VM_NOWAIT))
			return boost_claim(c, s, CLAIM_OR_WAIT, now);
		if (!boost_claim(c, s, CLAIM_OR_LOSE, now)) {
			heap_del(&c->waiting, s->slot);	/* it may wait since before the policy changed */
			boost_deny(vm, s);
		}
		return 0;
	}
	v = server(s->cpu, s->lender);
	if (v && v->state == SPARE_INACTIVE)
		server_wake(c, v, now);
	return 0;
}

/*
 * Its CPU goes: INACTIVE, with what it has of budget and deadline; nothing is marked or lent. (Network threads count themselves out: perhaps only
 * when they run next, if sched_ext bypasses the class.)
 */
__noinline int server_rest(struct cpu_ctx *c __arg_nonnull, struct spare_server *s __arg_nonnull, u64 now)
{
	if (s->state == SPARE_THROTTLED)
		server_unthrottle(c, s, now);
	server_inactive(c, s, now);
	heap_del(&c->waiting, s->slot);
	spare_mark_clear(&s->mark);
	s->lender = s->borrower = SPARE_NO_SLOT;
	s->svc_pending = s->owed_ns = 0;
	return 0;
}

/*
 * The mark has had its grant or its chances, or the VM may gain no more. If that was not enough for both halves of first
 * service, the packet is denied. One that came meanwhile starts the next mark.
 */
__noinline int boost_end(struct cpu_ctx *c __arg_nonnull, struct spare_server *s __arg_nonnull, u64 now)
{
	struct spare_vm *vm = server_vm(s);

	if (s->mark.phase == SPARE_MARK_WOKEN && vm) {
		boost_deny(vm, s);
	} else if (s->svc_pending && spare_pool_denied_half(s->rx_served, s->rx_denied)) {
		s->rx_denied = s->rx_served;
		count_denied(s);
	}
	spare_mark_clear(&s->mark);
	s->svc_pending = s->owed_ns = 0;
	boost_release(c, s, now);
	return boost_check(c, s, now);
}

/* The server has budget of its own: its mark ends, unless the packet has a provider and awaits first service (SPARE-4). */
static __always_inline void boost_settle(struct cpu_ctx *c, struct spare_server *s, u64 now)
{
	if (s->state == SPARE_THROTTLED || s->mark.phase == SPARE_UNMARKED ||
	    spare_mark_outlasts(&s->mark, s->net_queued, s->svc_pending, s->lender != SPARE_NO_SLOT))
		return;
	spare_mark_clear(&s->mark);
	boost_release(c, s, now);
}

/* No thread of s is left here that its provider is for: first service was given, or the network thread has gone elsewhere. */
static __always_inline bool boost_is_over(const struct spare_server *s)
{
	return s->mark.phase == SPARE_UNMARKED || s->mark.phase == SPARE_MARK_SERVED || (s->mark.phase == SPARE_MARK_WOKEN && !s->net_queued);
}

/* All of them sleep, or have gone. */
static __always_inline void boost_let_go(struct cpu_ctx *c, struct spare_server *s, u64 now)
{
	if (!boost_is_over(s))
		return;
	if (s->mark.phase == SPARE_MARK_WOKEN)
		spare_mark_clear(&s->mark);
	boost_release(c, s, now);
}

/* The server's own budget is back. What a mark has come to by then is counted; it ends as in boost_settle(). */
__noinline int boost_replenished(struct cpu_ctx *c __arg_nonnull, struct spare_server *s __arg_nonnull, u64 now)
{
	struct spare_vm *vm = server_vm(s);
	struct spare_server *v;

	s->owed_ns = 0;
	if (s->mark.phase == SPARE_UNMARKED) {
		/* While it was THROTTLED, boost_check() would have marked it. */
		if (vm && s->use[0] != SPARE_NO_SLOT && s->net_queued && spare_pool_due(vm->rx_seq, s->rx_served, s->rx_denied) &&
		    vm_drained(vm, now))
			s->st.unasked++;
		return 0;
	}
	if (spare_pool_denied(&s->mark, s->lender != SPARE_NO_SLOT)) {
		if (vm)
			s->rx_denied = vm->rx_seq;
		count_denied(s);
	} else if (s->mark.phase == SPARE_MARK_ARRIVED) {
		v = s->use[0] == SPARE_NO_SLOT ? NULL : server(s->cpu, s->use[0]);
		if (v && now - s->mark.since_ns >= v->cbs.period_ns) {
			s->st.expired++;
			if (vm)
				s->rx_served = vm->rx_seq;
		}
	}
	boost_settle(c, s, now);
	return 0;
}

#endif
