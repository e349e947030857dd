/* SPDX-License-Identifier: GPL-2.0 */
/*
 * cpu.bpf.h - one CPU's servers: queues and state changes (CBS-1, CBS-2, CBS-4, CBS-5).
 *
 * Everything here is changed only under the run-queue lock of the CPU, so there is no other lock. What other CPUs want
 * of a server they leave in its atomic words and call spare_attend().
 *
 * Functions that are not static are verified alone, once in each program.
 */
#ifndef SPARE_CPU_BPF_H
#define SPARE_CPU_BPF_H

#include "spare.bpf.h"
#include <sched_spare/abi.h>
#include <sched_spare/cbs.h>
#include <sched_spare/edf.h>
#include <sched_spare/pool.h>
#include "kfuncs.bpf.h"
#include "queue.bpf.h"
#include "host_cpu.bpf.h"
#include "cpu_ctx.bpf.h"
#include "own_time.bpf.h"
#include "debt.bpf.h"

/*
 * A CPU that works, cpu itself if it does: for what is put into its host queue from elsewhere. One that goes is still in the kernel's
 * mask of those online when ops.cpu_offline is called.
 */
__noinline s32 host_home(s32 cpu)
{
	struct cpu_ctx *c = cpu_ctx(cpu);
	const struct cpumask *online;
	s32 home = cpu;
	int i;

	online = scx_bpf_get_online_cpumask();
	if (!c || c->host.offline || !bpf_cpumask_test_cpu(cpu, online)) {
		bpf_for(i, 0, SPARE_CPUS_MAX) {
			c = cpu_ctx(i);
			if (!c)
				break;
			if (c->host.offline || !bpf_cpumask_test_cpu(i, online))
				continue;
			home = i;
			break;
		}
	}
	scx_bpf_put_cpumask(online);
	return home;
}

static __always_inline struct spare_server *server(s32 cpu, u32 slot)
{
	return (struct spare_server *)spare_server_get(cpu, slot, sizeof(struct spare_server));
}

static __always_inline struct spare_vm *server_vm(const struct spare_server *s)
{
	return (struct spare_vm *)spare_server_vm(s->cpu, s->slot, sizeof(struct spare_vm));
}

/* What a packet may borrow (SPARE-4). */
static __always_inline u64 server_grant(const struct spare_server *s)
{
	struct spare_vm *vm = server_vm(s);

	return vm ? vm->grant_ns : 0;
}

/* Threads waiting in the server's queue. */
static __always_inline s32 server_queued(const struct spare_server *s)
{
	return s->dsq ? scx_bpf_dsq_nr_queued(s->dsq) : 0;
}

static __always_inline bool is_ready(struct cpu_ctx *c, u32 slot)
{
	return slot < SPARE_SLOTS && spare_edf_has(&c->ready, slot);
}

/* Count an event and, once the run-queue lock is gone, wake those who poll spare.events. */
static __always_inline void vm_event(const struct spare_server *s, u32 ev)
{
	struct spare_vm *vm = server_vm(s);

	if (!vm || ev >= SPARE_EV_NR)
		return;
	__sync_fetch_and_add(&vm->ev[ev], 1);
	spare_notify(s->cpu, s->slot);
}

__noinline int heap_put(struct spare_edf *h __arg_nonnull, u32 slot, u64 key)
{
	spare_edf_put(h, slot, key);
	return 0;
}

__noinline int heap_del(struct spare_edf *h __arg_nonnull, u32 slot)
{
	spare_edf_del(h, slot);
	return 0;
}

/* A deadline has passed with budget left (and the server wants to run, or just did): counted, never forgiven. */
static __always_inline void count_miss(struct spare_server *s, u64 now)
{
	if (s->cbs.q_ns > 0 && spare_before(s->cbs.d_ns, now))
		s->st.misses++;
}

__noinline int server_ready(struct cpu_ctx *c __arg_nonnull, struct spare_server *s __arg_nonnull)
{
	if (s->state == SPARE_INACTIVE)
		s->ready_ns = bpf_ktime_get_ns();
	if (!c->ready.n)
		c->ready_ns = s->ready_ns;
	s->state = SPARE_READY;
	heap_put(&c->ready, s->slot, spare_deadline(&s->far, &s->cbs));
	return 0;
}

/*
 * Nobody may have looked when it was due: a higher class had the CPU. It was ready from then on, and missed what passed since. What
 * that class took is counted by charge_switch() as a rule; here when other threads ran before the first dispatch.
 */
static __always_inline void server_was_due(struct cpu_ctx *c, struct spare_server *s, u64 due, u64 now)
{
	u64 from = spare_before(due, c->taken_from) ? c->taken_from : due;

	s->ready_ns = due;
	if (c->ready.n == 1)
		c->ready_ns = due;
	if (c->taken_to && spare_before(from, c->taken_to))
		s->st.stolen_ns += c->taken_to - from;
	if (now - due >= s->cbs.period_ns)
		s->st.misses += (now - due) / s->cbs.period_ns;
}

__noinline int server_inactive(struct cpu_ctx *c __arg_nonnull, struct spare_server *s __arg_nonnull, u64 now)
{
	count_miss(s, now);
	s->state = SPARE_INACTIVE;
	s->far.left_ns = 0;
	if (s->valve_ns > 0)
		s->valve_ns = 0;
	heap_del(&c->ready, s->slot);
	return 0;
}

/*
 * THROTTLED until d (CBS-4). The count in the VM is what the packet hook tests; raising it is ordered before the reads
 * of rx_seq that follow, as the hook raises rx_seq before it reads the count (SPARE-8).
 */
__noinline int server_throttle(struct cpu_ctx *c __arg_nonnull, struct spare_server *s __arg_nonnull, u64 now)
{
	struct spare_vm *vm;
	s64 left = s->cbs.q_ns + (s->strayed_ns > 0 ? s->strayed_ns : 0);
	u64 over = left < 0 ? -left : 0;

	if (!s->dsq || !s->cbs.period_ns) {
		class_error("CPU %u: the server in slot %u is throttled before it is configured", s->cpu, s->slot);
		return 0;
	}
	heap_put(&c->throttled, s->slot, s->cbs.d_ns);
	if (s->state == SPARE_THROTTLED)
		return 0;
	/* The budget lasted beyond the deadline: part of it was served late. */
	if (spare_before(s->cbs.d_ns + over, now))
		s->st.misses++;
	if (over > s->st.overrun_max_ns)
		s->st.overrun_max_ns = over;
	if (over > SPARE_OVERRUN_EVENT_NS) {
		s->st.overruns++;
		vm_event(s, SPARE_EV_OVERRUN);
	}
	heap_del(&c->ready, s->slot);
	s->far.left_ns = 0;
	s->state = SPARE_THROTTLED;
	s->since_ns = now;
	s->st.throttled++;
	vm = server_vm(s);
	if (vm)
		__sync_fetch_and_add(&vm->nr_throttled, 1);
	if (!(s->flags & SPARE_F_PROVIDER))
		vm_event(s, SPARE_EV_EXHAUSTED);
	spare_trace(s->cpu, s->slot, SPARE_TRACE_THROTTLE, SPARE_NO_SLOT);
	return 0;
}

/* Leave THROTTLED; the caller says what follows. */
__noinline int server_unthrottle(struct cpu_ctx *c __arg_nonnull, struct spare_server *s __arg_nonnull, u64 now)
{
	struct spare_vm *vm = server_vm(s);

	heap_del(&c->throttled, s->slot);
	s->state = SPARE_INACTIVE;
	s->st.throttled_ns += now - s->since_ns;
	if (vm)
		__sync_fetch_and_sub(&vm->nr_throttled, 1);
	return 0;
}

/*
 * A server serves while it has a queue, and is counted as long: on a CPU that works, from its first configuration until it is
 * withdrawn.
 */
static __always_inline bool server_begin(struct cpu_ctx *c, struct spare_server *s)
{
	if (s->dsq)
		return true;
	s->dsq = queue_take();
	if (!s->dsq) {
		spare_attend(s->cpu, s->slot);
		return false;
	}
	s->lender = SPARE_NO_SLOT;
	s->borrower = SPARE_NO_SLOT;
	s->debt.until_ns = 0;	/* budgets of the time when it could not serve pay nothing (DEBT-1) */
	host_server_comes(&c->host);
	return true;
}

/* Its queue is empty. Once or again. */
static __always_inline void server_end(struct cpu_ctx *c, struct spare_server *s)
{
	if (!s->dsq)
		return;
	queue_give(s->dsq);
	s->dsq = 0;
	host_server_goes(&c->host);
}

/* It has a configuration that it has not taken over, or had no queue so far. */
static __always_inline bool server_is_news(const struct spare_server *s)
{
	return s->cfg != s->cfg_seen || !s->dsq;
}

/* Take over a new configuration; keeps the queues in order. */
__noinline int server_configure(struct cpu_ctx *c __arg_nonnull, struct spare_server *s __arg_nonnull, u64 now)
{
	u64 cfg = s->cfg;

	if (!server_is_news(s) || !cfg || s->flags & SPARE_F_DYING)
		return 0;
	if (!server_begin(c, s))
		return 0;	/* its threads are the host's until the next try */
	spare_cbs_configure(&s->cbs, cfg, !s->cfg_seen, now);
	s->cfg_seen = cfg;
	if (spare_edf_has(&c->ready, s->slot))
		heap_put(&c->ready, s->slot, spare_deadline(&s->far, &s->cbs));
	if (spare_edf_has(&c->throttled, s->slot))
		heap_put(&c->throttled, s->slot, s->cbs.d_ns);
	return 0;
}

/*
 * What strays took, or gave back, since (CBS-11): it was part of the budget, so nothing of it is forgiven, nor is it an overrun. One that goes and has an heir
 * leaves it to that (server_bequeath).
 */
__noinline int server_take_off(struct spare_server *s __arg_nonnull)
{
	s64 taken;

	if (s->heir_id)
		return 0;
	taken = __sync_lock_test_and_set(&s->taken_ns, 0);
	s->cbs.q_ns -= taken;
	if (s->cbs.q_ns > (s64)s->cbs.runtime_ns)
		s->cbs.q_ns = s->cbs.runtime_ns;
	s->strayed_ns += taken;
	return 0;
}

static __always_inline void server_pay_taken(struct spare_server *s)
{
	if (s->taken_ns)
		server_take_off(s);
}

/* The rest of it. */
__noinline int server_repay(struct spare_server *s __arg_nonnull, u64 now)
{
	u64 debt, unused;

	if (s->heir_id)
		return 0;
	debt = __sync_lock_test_and_set(&s->debt_ns, 0);
	unused = spare_debt_unused(&s->cbs, now);
	if (!spare_cbs_settle(&s->cbs, debt, now))
		return 0;
	debt_repay(s, unused > debt ? unused - debt : 0);
	return 1;
}

/*
 * What others left for it to pay (spare_cbs_settle): what is left of the budgets of the periods that have passed pays it, and then what was spent elsewhere. Returns
 * whether its deadline has moved: a period begins, and has paid (DEBT-1).
 */
static __always_inline bool server_pay_debt(struct spare_server *s, u64 now)
{
	server_pay_taken(s);
	return s->debt_ns && server_repay(s, now);
}

/* Its deadline has passed: it pays what is owed, has its budget for the periods since, and pays of that what was spent elsewhere. */
static __always_inline void server_credit(struct spare_server *s, u64 now)
{
	u64 unused;

	if (server_pay_debt(s, now))
		return;
	unused = spare_debt_unused(&s->cbs, now);
	spare_cbs_credit(&s->cbs, now);
	debt_repay(s, unused);
}

/* INACTIVE, and its deadline has passed: a credit for the periods since is due. */
static __always_inline bool server_sleeps_past(const struct spare_server *s, u64 now)
{
	return s->state == SPARE_INACTIVE && !spare_before(now, s->cbs.d_ns);
}

/* What strays may still take of the budget, read from any CPU: the credit that is due counts, and what the run has used so far. */
__noinline s64 server_budget(struct spare_server *s __arg_nonnull, u64 now)
{
	s64 taken = *(volatile __s64 *)&s->taken_ns;	/* before cbs: it may be paid meanwhile, and would count twice rather than not at all */
	struct spare_cbs cbs = s->cbs;
	struct cpu_ctx *c;
	u64 stamp = now, began;

	if (!s->cfg_seen || !cbs.period_ns || !cbs.runtime_ns)
		return 0;
	c = s->state == SPARE_RUNNING ? cpu_ctx(s->cpu) : NULL;
	if (c && c->by == s->slot) {
		stamp = *(volatile u64 *)&c->stamp_ns;
		began = *(volatile u64 *)&c->began_ns;
		if (spare_before(stamp, began))
			stamp = began;
	}
	if (c && spare_before(stamp, now))
		cbs.q_ns -= own_time(c, now - stamp, spare_above_ns(s->cpu, now));
	cbs.q_ns -= taken;
	if (cbs.q_ns > (s64)cbs.runtime_ns)
		cbs.q_ns = cbs.runtime_ns;
	if (s->debt_ns)
		spare_cbs_settle(&cbs, s->debt_ns, now);
	if (s->state == SPARE_INACTIVE && !spare_before(now, cbs.d_ns)) {
		u64 unused = spare_debt_unused(&cbs, now);

		spare_cbs_credit(&cbs, now);
		debt_foresee(s, &cbs, unused);
	}
	return cbs.q_ns;
}

/*
 * An INACTIVE server of which strays have taken, or for which real-time threads have left debt, pays and is credited, in this order: what they
 * took until the deadline was of the budget before it, and a credit in between would be cut at Q. On its CPU.
 */
static __always_inline void server_settle(struct spare_server *s, u64 now)
{
	bool due = (s->taken_ns || s->debt_ns) && s->cfg_seen && server_sleeps_past(s, now);

	server_pay_taken(s);
	if (!due)
		return;
	s->strayed_ns = 0;
	server_credit(s, now);
}

/* The budget is used up; may a crowd of threads go on (CBS-7)? What it runs is charged, down to the floor of debt. */
static __always_inline bool valve_open(struct spare_server *s, u64 delta)
{
	if (s->valve_ns)
		s->st.valve_ns += delta;
	return spare_valve_charge(&s->cbs, &s->valve_ns, delta);
}

/* What is left to run before the server is THROTTLED. */
static __always_inline u64 server_left(const struct spare_server *s)
{
	return (s->cbs.q_ns > 0 ? s->cbs.q_ns : 0) + (s->valve_ns > 0 ? s->valve_ns : 0);
}

/* A thread wants to run in an INACTIVE server (CBS-2). */
__noinline int server_wake(struct cpu_ctx *c __arg_nonnull, struct spare_server *s __arg_nonnull, u64 now)
{
	u64 unused, d;
	bool anew, wakes;

	if (server_is_news(s))
		server_configure(c, s, now);
	if (s->state != SPARE_INACTIVE || !s->dsq)
		return 0;
	server_settle(s, now);
	anew = server_pay_debt(s, now) || !spare_before(now, s->cbs.d_ns);
	if (anew) {
		s->st.periods++;
		s->strayed_ns = 0;
	}
	unused = spare_debt_unused(&s->cbs, now);
	d = s->cbs.d_ns;
	wakes = spare_cbs_wake(&s->cbs, now);
	/* (Where only the budget is credited, as that is not positive, it is no less a period.) */
	if (s->cbs.d_ns != d)
		debt_repay(s, unused);
	if (anew)
		spare_trace(s->cpu, s->slot, SPARE_TRACE_REPLENISH, SPARE_NO_SLOT);
	if (wakes)
		server_ready(c, s);
	else
		server_throttle(c, s, now);
	return 0;
}

/* How long a thread of the server runs before the next one's turn (CBS-7, CBS-8). */
__noinline u64 server_turn(struct spare_server *s __arg_nonnull)
{
	return spare_turn_ns(&s->cbs, debt_budget(s), server_queued(s) + 1);
}

/* A packet waits for first service in s, by its network thread or by the vCPU that this has kicked. */
static __always_inline bool server_waits(const struct spare_server *s, const struct spare_vm *vm)
{
	return vm->rx_seq != s->rx_served || s->svc_pending;
}

/* Its deadline is far enough to bring a chunk nearer (SPARE-7). */
static __always_inline bool server_may_hasten(const struct spare_server *s, const struct spare_vm *vm, u64 now)
{
	const struct spare_server *v;

	if (!(vm->flags & SPARE_VM_HASTEN) || s->use[0] == SPARE_NO_SLOT)
		return false;
	v = server(s->cpu, s->use[0]);
	return v && v->cfg_seen && spare_far(&s->cbs, s->far.last_ns, v->cbs.period_ns, now);
}

/*
 * A packet waits for a server that has budget left, but a deadline farther than its provider's period: a chunk of the budget
 * runs under a nearer one (SPARE-7).
 */
__noinline int server_hasten(struct cpu_ctx *c __arg_nonnull, struct spare_server *s __arg_nonnull, u64 now)
{
	struct spare_vm *vm = server_vm(s);
	struct spare_server *v;

	if (!vm || !(vm->flags & SPARE_VM_HASTEN) || !is_ready(c, s->slot) || s->use[0] == SPARE_NO_SLOT)
		return 0;
	v = server(s->cpu, s->use[0]);
	if (!v || !v->cfg_seen || !spare_far_begin(&s->far, &s->cbs, v->cbs.period_ns, now))
		return 0;
	s->st.hastened++;
	heap_put(&c->ready, s->slot, s->far.d_ns);
	return 1;
}

/* The same, if one waits and its thread is here. */
static __always_inline void server_hasten_waiting(struct cpu_ctx *c, struct spare_server *s, u64 now)
{
	struct spare_vm *vm = server_vm(s);

	if (vm && server_waits(s, vm) && (s->net_queued || s->svc_pending))
		server_hasten(c, s, now);
}

#endif
