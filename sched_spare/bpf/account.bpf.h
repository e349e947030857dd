/* SPDX-License-Identifier: GPL-2.0 */
/*
 * account.bpf.h - who pays for the CPU, and the timer that ends what is paid for (CBS-3, CBS-4, SPARE-4).
 *
 * A run is charged from ops.running to ops.stopping, and the switch that follows to the thread that leaves; without what softirqs took on
 * top of it (ACC-2).
 */
#ifndef SPARE_ACCOUNT_BPF_H
#define SPARE_ACCOUNT_BPF_H

#include "spare.bpf.h"
#include <sched_spare/abi.h>
#include <sched_spare/cbs.h>
#include <sched_spare/edf.h>
#include <sched_spare/pool.h>
#include <sched_spare/spare.h>
#include "kfuncs.bpf.h"
#include "cpu.bpf.h"
#include "boost.bpf.h"
#include "task.bpf.h"
#include "guard.bpf.h"
#include "host_timer.bpf.h"
#include "host_floor.bpf.h"

/* This may be the vCPU that the network thread has kicked: by its name, or where no vCPU has one. */
static __always_inline bool is_vcpu(const struct cpu_ctx *c, const struct spare_server *s)
{
	return !c->net && (c->kind == SPARE_KIND_VCPU || !s->st.vcpu_ns);
}

/*
 * The second half of first service: a vCPU has run long enough to see what the network thread left for it. Less, when the
 * budget ends just then, is none.
 */
static __always_inline void vcpu_service(struct cpu_ctx *c, struct spare_server *s, u64 delta)
{
	if (!is_vcpu(c, s))
		return;
	s->owed_ns = spare_owed_left(s->owed_ns, delta);
	if (c->run_ns >= SPARE_SERVICE_NS)
		s->svc_pending = 0;
}

static __always_inline void count_kind(const struct cpu_ctx *c, struct spare_server *s, u64 delta)
{
	if (c->kind == SPARE_KIND_VCPU)
		s->st.vcpu_ns += delta;
	else if (c->kind == SPARE_KIND_VHOST)
		s->st.vhost_ns += delta;
}

/*
 * The network thread that the mark waits for has left the server (its affinity, its cgroup): it serves elsewhere, and what the vCPU borrows
 * meanwhile is bounded as after first service.
 */
static __always_inline bool net_has_left(const struct cpu_ctx *c, const struct spare_server *s)
{
	return s->mark.phase == SPARE_MARK_WOKEN && !s->net_queued && !c->net;
}

/*
 * SPARE-10: what was lent ends here, and a vCPU would run on after first service. Whether for that packet or for what else its guest has to do, the
 * guest alone knows.
 */
static __always_inline void count_short(const struct cpu_ctx *c, const struct spare_server *s, u64 *counter)
{
	if (!c->sleeps && s->mark.phase == SPARE_MARK_SERVED && is_vcpu(c, s))
		(*counter)++;
}

/* Charge the current run up to now. What it exhausts is THROTTLED here, what it ends is ended here. */
__noinline int charge(struct cpu_ctx *c __arg_nonnull, s32 cpu, u64 now)
{
	u64 delta, passed = now - c->stamp_ns;
	struct spare_server *s, *by;
	struct spare_vm *vm;
	u32 exhausted;

	if (c->cur == SPARE_NO_SLOT)
		return 0;
	delta = own_time_switching(c, cpu, now);
	c->turn_end_ns += passed - delta;
	by = server(cpu, c->by);
	if (!by)
		return 0;
	host_floor_owe(&c->host, delta);
	c->run_ns += delta;
	if (c->limited)
		guard_pays(cpu, c->cur, delta, now);
	/* One that is THROTTLED pays when it is replenished, or its place in the heap would be wrong. */
	if (by->state != SPARE_THROTTLED && server_pay_debt(by, now) && is_ready(c, by->slot))
		heap_put(&c->ready, by->slot, spare_deadline(&by->far, &by->cbs));
	exhausted = spare_cbs_charge(&by->cbs, delta) && !valve_open(by, delta);
	by->st.used_ns += delta;	/* (Afterwards: spare_server_inherit.) */
	if (exhausted)
		server_throttle(c, by, now);
	else if (spare_far_charge(&by->far, delta) && is_ready(c, by->slot))
		heap_put(&c->ready, by->slot, by->cbs.d_ns);
	if (c->by == c->cur) {
		count_kind(c, by, delta);
		vcpu_service(c, by, delta);
		if (exhausted)
			boost_check(c, by, now);
		else
			boost_settle(c, by, now);
		return exhausted;
	}
	/* A provider may have a packet of its own, and threads that its siblings may take. */
	if (exhausted && server_queued(by)) {
		boost_check(c, by, now);
		c->offer = by->slot;
	}
	s = server(cpu, c->cur);
	if (!s)
		return exhausted;
	count_kind(c, s, delta);
	vcpu_service(c, s, delta);
	vm = server_vm(s);
	if (!vm)
		return exhausted;
	if (net_has_left(c, s))
		spare_mark_serve(&s->mark);
	if (!boost_charge(s, by, vm, delta, now)) {
		count_short(c, s, &s->st.short_gain);
		boost_end(c, s, now);
	} else if (spare_mark_charge(&s->mark, vm->grant_ns, vm->chances)) {
		count_short(c, s, &s->st.short_grant);
		boost_end(c, s, now);
	} else {
		if (exhausted)
			count_short(c, s, &s->st.short_q);
		boost_settle(c, s, now);
	}
	return exhausted;
}

/* A higher class has had the CPU since then. */
static __always_inline void count_stolen(struct cpu_ctx *c, s32 cpu, u64 from, u64 now)
{
	struct spare_server *s;
	u64 key;

	if (!c->taken_to)
		c->taken_from = from;
	c->taken_to = now;
	s = server(cpu, c->cur == SPARE_NO_SLOT ? spare_edf_top(&c->ready, &key) : c->by);
	if (s)
		s->st.stolen_ns += now - (spare_before(from, s->ready_ns) ? s->ready_ns : from);
}

/*
 * The switch itself is the leaving thread's: what passed since its ops.stopping is charged when the next one, or idle,
 * takes over. So every nanosecond between two switches is somebody's, as sched_switch would count it. When a higher class
 * took over in between (current is then another), the thread pays up to that switch, which the module has seen; and what a server lost
 * to a real-time or deadline thread while it was ready is counted: the one that runs now, or would if a kernel thread did not. One that
 * became due meanwhile is not known to be ready when a thread of the local queue goes first, past dispatch: it learns of the
 * loss when it is replenished (server_was_due).
 *
 * Returns whether dispatch must look again: the switch took the last of a budget. (Its replenishment needs the timer, and a
 * packet may have come for it a moment ago, when it still had some.)
 */
__noinline int charge_switch(struct cpu_ctx *c __arg_nonnull, s32 cpu, u64 now)
{
	struct spare_server *by = c->left == SPARE_NO_SLOT ? NULL : server(cpu, c->left), *s;
	struct task_struct *prev = bpf_get_current_task_btf();
	bool higher = prev->prio < MAX_RT_PRIO, goes_on;
	u64 stopped = c->stamp_ns, delta;
	struct spare_vm *vm;

	/* (What ran before was no server's, or a higher class's: the last reading is of long ago.) */
	delta = c->left == SPARE_NO_SLOT || higher ? own_time_since(c, cpu, now) : own_time_switching(c, cpu, now);
	c->left = SPARE_NO_SLOT;
	if (higher)
		count_stolen(c, cpu, by ? stopped + delta : stopped, now);
	else if ((u32)prev->pid != c->left_pid)
		return 0;
	if (!by)
		return 0;
	if (c->left_limited)
		guard_pays(cpu, c->left_of, delta, now);
	s = c->left_of == by->slot ? NULL : server(cpu, c->left_of);
	vm = s ? server_vm(s) : NULL;
	if (s && vm)
		boost_charge(s, by, vm, delta, now);
	goes_on = !spare_cbs_charge(&by->cbs, delta) || valve_open(by, delta);
	by->st.used_ns += delta;
	if (goes_on || by->state == SPARE_THROTTLED)
		return 0;
	server_throttle(c, by, now);
	boost_check(c, by, now);
	c->offer = by->slot;
	return 1;
}

/* What s may run on of what it borrows. */
__noinline u64 lent_left(const struct cpu_ctx *c __arg_nonnull, const struct spare_server *s __arg_nonnull, const struct spare_vm *vm __arg_nonnull)
{
	u64 left = spare_borrow_left(vm, s, SPARE_SLICE_NS), mark = spare_mark_left(&s->mark, vm->grant_ns);

	return (s->mark.phase == SPARE_MARK_SERVED || net_has_left(c, s)) && mark < left ? mark : left;
}

/* What it may run on beside that: of what it borrows, of its VM's limit. */
__noinline u64 bounded_left(const struct cpu_ctx *c __arg_nonnull, const struct spare_server *s __arg_nonnull, u64 now)
{
	struct spare_vm *vm = c->by == c->cur ? NULL : server_vm(s);
	u64 left = vm ? lent_left(c, s, vm) : 1ULL << 62, limited;

	if (!c->limited)
		return left;
	limited = guard_left(c, s, now);
	return limited < left ? limited : left;
}

/* Arm the hard timer for the next thing that must happen on this CPU by itself. Only on the CPU. */
__noinline int arm_timer(struct cpu_ctx *c __arg_nonnull, s32 cpu, u64 now)
{
	struct spare_server *s, *by;
	u64 due = next_replenishment(c), when = due, end = 0, t;

	if (c->cur == SPARE_NO_SLOT) {
		spare_timer_arm(cpu, gap_event(c, due), host_leaves(&c->host, due));
		return 0;
	}
	by = server(cpu, c->by);
	s = server(cpu, c->cur);
	if (by && s) {
		t = now + server_left(by);
		/* It may leave the kernel first where that is little beside its budget, and nobody else is due; not in what it borrows. */
		if (by == s && by->cbs.runtime_ns >= SPARE_LEAVE_Q_NS)
			end = t;
		if (by->far.left_ns > 0 && spare_before(now + by->far.left_ns, t))
			t = now + by->far.left_ns;
		if (!when || spare_before(t, when))
			when = t;
		t = now + bounded_left(c, s, now);
		if (spare_before(t, when))
			when = t;
		if (spare_before(c->turn_end_ns, when) && server_queued(s)) {
			when = spare_before(c->turn_end_ns, now) ? now : c->turn_end_ns;
			/* Those of a crowd are calibrated. */
			if (end && server_turn(s) >= SPARE_TURN_NS)
				end = when;
		}
		if (due && spare_before(due, end + SPARE_LEAVE_NS))
			end = 0;
	}
	spare_timer_arm(cpu, when, end);
	return 0;
}

#endif
