/* SPDX-License-Identifier: GPL-2.0 */
/* run.bpf.h - a thread gets the CPU and leaves it: who pays, from when until when (CBS-4), and first service (SPARE-4). */
#ifndef SPARE_RUN_BPF_H
#define SPARE_RUN_BPF_H

#include "spare.bpf.h"
#include <sched_spare/abi.h>
#include <sched_spare/cbs.h>
#include <sched_spare/edf.h>
#include <sched_spare/spare.h>
#include "kfuncs.bpf.h"
#include "compat.bpf.h"
#include "host_cpu.bpf.h"
#include "cpu.bpf.h"
#include "boost.bpf.h"
#include "task.bpf.h"
#include "guard.bpf.h"
#include "host_limit.bpf.h"
#include "stray.bpf.h"
#include "host_timer.bpf.h"
#include "host_floor.bpf.h"
#include "host_kthread.bpf.h"
#include "host.bpf.h"
#include "account.bpf.h"

/* The vCPU that a network thread kicks may be another CPU's: that one's server is THROTTLED (SPARE-2), or will be. */
static __always_inline void net_served_elsewhere(struct spare_server *s, struct spare_vm *vm, u64 seq, u64 now)
{
	if (!server_has_sibling(s))
		return;
	vm_served(vm, seq, now);
	if (vm->nr_throttled > (s->state == SPARE_THROTTLED) || vm->flags & SPARE_VM_HASTEN)
		vm_service_elsewhere(vm, s, seq, now);
}

/* The network thread starts to run: first service of every packet seen so far (SPARE-4). */
__noinline int first_service(struct cpu_ctx *c __arg_nonnull, struct task_ctx *t __arg_nonnull, struct spare_server *s __arg_nonnull,
			     struct spare_vm *vm __arg_nonnull, u64 now)
{
	u64 lat = now - s->mark.since_ns;

	if (s->mark.phase == SPARE_MARK_ARRIVED || s->mark.phase == SPARE_MARK_WOKEN) {
		s->st.lat[spare_lat_bucket(lat) & (SPARE_LAT_BUCKETS - 1)]++;
		s->st.lat_sum_ns += lat;
		if (lat > s->st.lat_max_ns)
			s->st.lat_max_ns = lat;
		spare_mark_serve(&s->mark);
	}
	if (vm->rx_seq == s->rx_served)
		return 0;
	t->serves = SPARE_SERVES;
	s->rx_served = vm->rx_seq;
	s->svc_pending = 1;
	s->owed_ns = vm->grant_ns;
	boost_settle(c, s, now);
	net_served_elsewhere(s, vm, vm->rx_seq, now);
	return 0;
}

/*
 * A network thread goes to sleep. It has drained what came while it ran, too, unless that is so young that it may yet wake it again, or
 * another network thread waits; the vCPU has not seen it. cut: nor, perhaps, what it began with.
 */
static __always_inline void net_sleeps(struct cpu_ctx *c, struct spare_server *s, struct spare_vm *vm, bool cut, u64 now)
{
	if (vm->rx_seq == s->rx_served && !cut)
		return;
	s->svc_pending = 1;
	s->owed_ns = vm->grant_ns;
	net_served_elsewhere(s, vm, vm->rx_seq, now);
	if (vm_drained(vm, now) && !s->net_queued)
		s->rx_served = vm->rx_seq;
	if (server_queued(s))
		boost_check(c, s, now);
}

/* Who runs now is known: the timer, at once when dispatch must look again, and the switch, which whoever left pays. */
static __always_inline void run_begins(struct cpu_ctx *c, s32 cpu, u64 now)
{
	/* Something of a running thread was changed (affinity, nice, cgroup), by another CPU, which has its own timer. */
	if (cpu != (s32)bpf_get_smp_processor_id()) {
		spare_kick(cpu);
		if (!c->runs_on || c->left == SPARE_NO_SLOT)
			own_time_since(c, cpu, now);
		c->left = SPARE_NO_SLOT;
		return;
	}
	if (c->early || (c->look == LOOK_RUN && c->cur != c->left_of)) {
		c->host.armed = 1;
		spare_timer_arm(cpu, now, 0);
	} else {
		arm_timer(c, cpu, now);
	}
	now = bpf_ktime_get_ns();
	if (charge_switch(c, cpu, now))
		spare_timer_arm(cpu, now, 0);
}

/* The same on a CPU without servers. early: what another CPU was left has yet to be told; arm: the thread is under cpu.max. */
static __always_inline void host_run_begins(struct cpu_ctx *c, s32 cpu, bool early, bool arm)
{
	if (!early && !arm)
		return;
	if (cpu != (s32)bpf_get_smp_processor_id()) {
		spare_kick(cpu);
	} else if (early) {
		c->host.armed = 1;	/* dispatch arms it anew */
		spare_timer_arm(cpu, bpf_ktime_get_ns(), 0);
	} else {
		arm_next(c, cpu);
	}
}

/* It runs in no server: a host task, or a stray of vm. */
static __always_inline void run_host(struct cpu_ctx *c, s32 cpu, struct task_struct *p, const struct spare_vm *vm, u64 now)
{
	bool floor;
	u64 key;

	c->cur = SPARE_NO_SLOT;
	c->pick = SPARE_NO_SLOT;
	floor = !is_percpu_kthread(p) && host_floor_runs(&c->host, now);
	c->host.kthread_runs = c->host.servers && is_percpu_kthread(p);
	if (c->host.kthread_runs)
		kthread_limit(c, now);
	/*
	 * Look again at once when it came past dispatch (a higher class let it go on) while a server waits, or
	 * when it has just moved into a VM that has a server for it elsewhere (and only then: a timer that fires
	 * at every switch leaves no time to run).
	 */
	if ((spare_edf_top(&c->ready, &key) != SPARE_NO_SLOT && !c->host.kthread_runs && !floor) || (vm && task_server_elsewhere(p, cpu)))
		c->early = 1;
}

/* It runs in s: who pays, until when its turn lasts, and first service. */
static __always_inline void run_served(struct cpu_ctx *c, s32 cpu, struct task_struct *p, struct task_ctx *t, struct spare_server *s,
				       struct spare_vm *vm, u64 now)
{
	struct spare_server *by;
	u64 key, turn;
	u32 payer;

	/* It moved into the VM while it ran: that wakes the server. */
	if (s->state == SPARE_INACTIVE)
		server_wake(c, s, now);
	if (c->pick == s->slot && is_ready(c, c->pick_by)) {
		payer = c->pick_by;
	} else {
		payer = is_ready(c, s->slot) ? s->slot : is_ready(c, s->lender) ? s->lender : SPARE_NO_SLOT;
		c->early = 1;
	}
	c->pick = SPARE_NO_SLOT;
	c->host.dispatch_ns = 0;
	c->cur = s->slot;
	__sync_lock_test_and_set(&c->began_ns, now);	/* before others can see who pays (server_budget) */
	c->by = payer == SPARE_NO_SLOT ? s->slot : payer;
	if (c->left != SPARE_NO_SLOT && now - c->turn_end_ns < SPARE_TURN_MIN_NS)
		c->switch_ns = now - c->turn_end_ns;
	turn = server_turn(s);
	c->turn_longer_ns = 0;
	if (t->turn_left && t->turn_left < turn) {
		c->turn_end_ns = spare_turn_resume(now, t->turn_left);
		c->turn_longer_ns = c->turn_end_ns - now - t->turn_left;
	} else {
		c->turn_end_ns = spare_turn_end(now, turn, c->switch_ns);
	}
	t->turn_left = 0;
	if (c->by != s->slot)
		s->mark.chances++;
	by = server(cpu, c->by);
	if (by && payer != SPARE_NO_SLOT)
		by->state = SPARE_RUNNING;
	c->kind = task_kind(p);
	c->net = is_net(p, t);
	c->limited = guard_limits(vm, p);
	c->may_ns = c->limited ? guard_may(vm, now) : 0;
	c->run_ns = 0;
	if (c->net)
		first_service(c, t, s, vm, now);
	/*
	 * It came past dispatch (a higher class let it go on), or whoever was put since was lent a provider with an earlier
	 * deadline: whoever is to run now, dispatch must say.
	 */
	if (spare_edf_top(&c->ready, &key) != c->by)
		c->early = 1;
}

/* A thread begins to run while there are servers. */
__noinline int run_task(struct cpu_ctx *c __arg_nonnull, struct task_struct *p __arg_trusted)
{
	s32 cpu = task_cpu(p);
	struct spare_vm *vm = task_vm(p);
	struct spare_server *s = NULL;
	struct task_ctx *t;
	bool arm;
	u32 slot;
	u64 now;

	/* The kernel does not call dispatch while its local queue has something. */
	c->early = forward_too_early(c);
	if (!c->early)
		forward_flush(c);
	if (!vm) {
		arm = host_running(c, p);
		if (!c->host.servers) {
			host_run_begins(c, cpu, c->early, arm);
			return 0;
		}
	} else if (c->host.idle) {
		host_idle(&c->host, false);
	}
	t = task_ctx(p);
	if (!t)
		return 0;
	now = bpf_ktime_get_ns();
	task_unqueued(t);
	t->waits_in = 0;
	slot = vm ? spare_task_slot(p, cpu) : SPARE_NO_SLOT;
	if (slot != SPARE_NO_SLOT)
		s = server(cpu, slot);
	if (s && server_is_news(s))
		server_configure(c, s, now);
	if (s && !s->dsq)
		s = NULL;	/* it is being withdrawn */
	if (s && t->grant_ns)
		limit_return(t);
	t->stray = vm && !s;
	if (t->stray) {
		if (is_net(p, t)) {
			if (vm->rx_seq != vm->served_seq)
				t->serves = SPARE_SERVES;
			vm_service_stray(p, vm, vm->rx_seq, false, now);
		}
		host_running(c, p);
		t->grant_of = c->host.limit;
		c->host.stray = 1;
	}
	/* Nobody has switched (something of it was changed while it ran, or it is chosen again): what passed since it stopped is its own. */
	c->runs_on = c->left_pid == (u32)p->pid && (cpu != (s32)bpf_get_smp_processor_id() || bpf_get_current_task_btf()->pid == p->pid);
	t->start_ns = c->runs_on && t->stray ? c->stamp_ns : now;
	c->put_pid = 0;
	if (s)
		run_served(c, cpu, p, t, s, vm, now);
	else
		run_host(c, cpu, p, vm, now);
	run_begins(c, cpu, now);
	return 0;
}

/* What the host runs before the servers, the first of them that is ready has lost. */
static __always_inline void host_stops(struct cpu_ctx *c, s32 cpu, u64 used, u64 now)
{
	struct spare_server *s;
	u64 key;

	if (c->host.floor) {
		s = server(cpu, spare_edf_top(&c->ready, &key));
		if (s)
			s->st.stolen_ns += used;
	}
	host_floor_stops(&c->host, used, now);
}

/* A stray has paid for what softirqs took on top of it, too, unless the kernel's account, by which it pays, leaves them out: it gets that back. */
static __always_inline void stray_stops(struct cpu_ctx *c, s32 cpu, struct task_struct *p, const struct task_ctx *t, u64 now)
{
	u64 above = now - c->stamp_ns;

	above -= own_time_since(c, cpu, now);
	if (above && t->grant_of & SPARE_LIMIT_SERVER && !rq_clock_task_own())
		limit_add(t->grant_of, 0, above);
	stray_count(p, now - t->start_ns - above, now);
}

/* A VM's thread stops, or a host task on a CPU with servers, which host_stopping() has charged. */
__noinline int stop_task(struct cpu_ctx *c __arg_nonnull, struct task_struct *p __arg_trusted, bool runnable)
{
	s32 cpu = task_cpu(p);
	struct task_ctx *t = task_ctx(p);
	struct spare_server *s, *by;
	/* (One of which something is changed while it runs stops for that moment as if it slept.) */
	bool sleeps = !runnable && p->__state, again;
	struct spare_vm *vm;
	u64 now;

	if (!t)
		return 0;
	now = bpf_ktime_get_ns();
	if (c->cur == SPARE_NO_SLOT) {
		if (t->stray) {
			stray_stops(c, cpu, p, t, now);
			vm = task_vm(p);
			again = t->serves == SPARE_SERVES_CUT;
			if (vm && sleeps && is_net(p, t) && (again || vm->rx_seq != vm->served_seq))
				vm_service_stray(p, vm, vm->rx_seq, again, now);
		}
		if (!is_percpu_kthread(p))
			host_stops(c, cpu, now - t->start_ns, now);
	} else {
		s = server(cpu, c->cur);
		by = server(cpu, c->by);
		vm = task_vm(p);
		c->sleeps = sleeps;
		charge(c, cpu, now);
		c->sleeps = false;
		if (by && by->state == SPARE_RUNNING)
			by->state = SPARE_READY;
		/* A vCPU that sleeps has seen what there was. */
		if (sleeps && s && is_vcpu(c, s))
			s->svc_pending = s->owed_ns = 0;
		if (sleeps && s && vm && c->net)
			net_sleeps(c, s, vm, t->serves == SPARE_SERVES_CUT, now);
		if (sleeps && s)
			server_asleep(c, s, now);
		if (sleeps && by && by->state == SPARE_THROTTLED)
			c->offer = by->slot;
	}
	t->ran_ns += now - t->start_ns;
	t->turn_left = 0;
	if (sleeps)
		t->serves = SPARE_SERVES_NONE;
	else if (runnable && t->serves)
		t->serves = SPARE_SERVES_CUT;
	if (runnable && c->cur != SPARE_NO_SLOT && spare_before(now + SPARE_TURN_REST_NS + c->turn_longer_ns, c->turn_end_ns))
		t->turn_left = c->turn_end_ns - now - c->turn_longer_ns;
	c->left = c->cur == SPARE_NO_SLOT ? SPARE_NO_SLOT : c->by;
	c->left_of = c->cur;
	c->left_limited = c->limited;
	c->limited = 0;
	c->left_pid = p->pid;
	c->stamp_ns = now;
	c->cur = SPARE_NO_SLOT;
	c->put_pid = runnable ? p->pid : 0;
	return 0;
}

/* Nothing to run: the switch to idle is the leaving thread's, too. */
__noinline int idle_begins(s32 cpu)
{
	struct cpu_ctx *c = cpu_ctx(cpu);
	const struct rq *rq;
	bool at_once;

	if (!c)
		return 0;
	c->host.dispatch_ns = 0;
	/* While a sibling runs somebody of another cookie it has nothing to offer. */
	rq = smt_active ? bpf_per_cpu_ptr(&runqueues, cpu) : NULL;
	if (rq && rq_core_cookie(rq))
		scx_bpf_test_and_clear_cpu_idle(cpu);
	else
		host_idle(&c->host, true);
	if (cpus_end <= (u32)cpu)
		cpus_end = cpu + 1;
	/* (Queued, too, while host_steal() let go of the lock; a kernel thread that is bound to this CPU since dispatch.) */
	at_once = c->fwd_slot != SPARE_NO_SLOT || c->look || c->host.queued || c->host.kthreads;
	if (at_once) {
		c->host.armed = 1;	/* (without servers dispatch arms it anew only then) */
		spare_timer_arm(cpu, bpf_ktime_get_ns(), 0);
	}
	c->put_pid = 0;	/* it has been queued: what is changed later is no put */
	if (!c->host.servers)
		return 0;
	/* It may be a worker that was put, and waits for its limit, after dispatch had seen to the timer. */
	if (c->guard_ns && !at_once)
		arm_next(c, cpu);
	if (c->left != SPARE_NO_SLOT && charge_switch(c, cpu, bpf_ktime_get_ns()))
		spare_timer_arm(cpu, bpf_ktime_get_ns(), 0);
	return 0;
}

#endif
