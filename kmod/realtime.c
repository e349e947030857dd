// SPDX-License-Identifier: GPL-2.0
/*
 * Real-time and deadline threads run before every server, and the class is not asked (CBS-11). What those of a VM use is counted, said, and
 * left to its servers as debt: its other threads pay.
 *
 * Seen in sched_switch, at the switch away from one, when the kernel has brought its account up to date; one that is never switched away from
 * keeps nobody waiting. Who changes its class while it runs, or is boosted by a lock that a real-time thread wants, is not switched: the class
 * tells. Modules find that tracepoint in the kernel's list.
 *
 * What such threads, and softirqs on top of others, have had of a CPU is no time of the class's threads (ACC-2): it is summed up by the class's
 * clock, and the difference of two readings was not the thread's in between. Softirqs are seen around each vector, and take the interrupts that come
 * meanwhile with them. (With PREEMPT_RT they are threads' own work, and may be preempted: there they are left where they are.)
 */
#include <linux/atomic.h>
#include <linux/kernel.h>
#include <linux/ktime.h>
#include <linux/percpu.h>
#include <linux/rcupdate.h>
#include <linux/sched.h>
#include <linux/sched/prio.h>
#include <linux/string.h>
#include <linux/timekeeping.h>
#include <linux/tracepoint.h>
#include "class.h"
#include "event.h"
#include "node.h"
#include "realtime.h"
#include "server.h"
#include "vm.h"

struct run {
	const struct task_struct *p;	/* the real-time thread that runs (told by its address alone), */
	u64 used_ns;			/* and what it had used when it was switched to */
	u64 since_ns;			/* since when it has been such threads; 0: none runs */
	u64 softirq_since_ns;
	u64 softirq_ns;			/* softirqs on top of them so far: in no bill of theirs */
	atomic64_t above_ns;		/* what was before the class's threads so far, but for since_ns; who changes a thread adds, too */
};

static DEFINE_PER_CPU(struct run, runs);

/* (With IRQ_TIME_ACCOUNTING the kernel's account leaves softirqs out itself.) */
static u64 used(const struct run *run, const struct task_struct *p)
{
	return p->se.sum_exec_runtime - (IS_ENABLED(CONFIG_IRQ_TIME_ACCOUNTING) ? 0 : run->softirq_ns);
}

static noinline void above_begins(struct run *run)
{
	if (!run->since_ns)
		WRITE_ONCE(run->since_ns, ktime_get_mono_fast_ns());
}

static noinline void above_ends(struct run *run)
{
	atomic64_add(ktime_get_mono_fast_ns() - run->since_ns, &run->above_ns);
	WRITE_ONCE(run->since_ns, 0);
}

/* The VM's server on @cpu, else its first. Under RCU. */
static struct spare_server_kern *payer(struct spare_vm_kern *vm, unsigned int cpu)
{
	struct spare_server_kern *srv = spare_server_at(cpu, spare_vm_slot_on(vm, cpu));

	if (srv)
		return srv;
	for_each_set_bit(cpu, (const unsigned long *)vm->abi.cpus, nr_cpu_ids) {
		srv = spare_cpu_serves(cpu) ? spare_server_at(cpu, spare_vm_slot_on(vm, cpu)) : NULL;
		if (srv)
			return srv;
	}
	return NULL;
}

/* Preemption is off; the run-queue lock is held. */
static noinline void charge(struct task_struct *p, unsigned int cpu, s64 ns)
{
	struct spare_server_kern *srv;
	struct spare_vm_kern *vm;
	u64 now;

	guard(rcu)();
	vm = spare_class_attached() ? spare_task_effective(p) : NULL;
	srv = vm ? payer(vm, cpu) : NULL;
	if (!srv || ns <= 0)
		return;
	now = ktime_get_mono_fast_ns();
	atomic64_add(ns, (atomic64_t *)&vm->abi.rt_ns);
	atomic64_add(ns, (atomic64_t *)&srv->abi.debt_ns);
	if (now - READ_ONCE(vm->rt_said_ns) < NSEC_PER_SEC)
		return;
	WRITE_ONCE(vm->rt_said_ns, now);
	spare_event(vm, SPARE_EV_RT);
}

static void switched(void *unused, bool preempt, struct task_struct *prev, struct task_struct *next, unsigned int prev_state)
{
	struct run *run = this_cpu_ptr(&runs);

	if (unlikely(prev->prio < MAX_RT_PRIO) && run->p == prev)
		charge(prev, smp_processor_id(), used(run, prev) - run->used_ns);
	if (likely(next->prio >= MAX_RT_PRIO)) {
		run->p = NULL;
		if (unlikely(run->since_ns))
			above_ends(run);
		return;
	}
	run->p = next;
	run->used_ns = used(run, next);
	above_begins(run);
}

static void softirq_begins(void *unused, unsigned int vector)
{
	__this_cpu_write(runs.softirq_since_ns, ktime_get_mono_fast_ns());
}

static void softirq_ends(void *unused, unsigned int vector)
{
	struct run *run = this_cpu_ptr(&runs);
	u64 ns = ktime_get_mono_fast_ns() - run->softirq_since_ns;

	if (!run->softirq_since_ns)
		return;		/* seen from its middle on */
	run->softirq_since_ns = 0;
	if (run->since_ns)
		run->softirq_ns += ns;
	else
		atomic64_add(ns, &run->above_ns);
}

/**
 * spare_realtime_above - what has gone before the class's threads so far
 * @cpu: any number; nearly always this CPU
 * @now_ns: of CLOCK_MONOTONIC
 *
 * Context: preemption off; exact under the run-queue lock of @cpu, but for a softirq that is there now.
 * Return: CPU time of softirqs, of real-time and of deadline threads.
 */
u64 spare_realtime_above(s32 cpu, u64 now_ns)
{
	const struct run *run = this_cpu_ptr(&runs);
	u64 since_ns;

	if (unlikely(cpu != smp_processor_id())) {
		if (!spare_cpu_valid(cpu))
			return 0;
		run = per_cpu_ptr(&runs, cpu);
	}
	since_ns = READ_ONCE(run->since_ns);
	if (unlikely(since_ns))
		return atomic64_read(&run->above_ns) + (now_ns - since_ns);
	return atomic64_read(&run->above_ns);
}

/**
 * spare_realtime_change - a task comes into our class, or goes to another one, perhaps while it runs
 * @p: the task, whose account is up to date
 * @goes: to another one
 *
 * Context: under its run-queue lock.
 */
void spare_realtime_change(struct task_struct *p, bool goes)
{
	struct run *run = per_cpu_ptr(&runs, task_cpu(p));

	if (!READ_ONCE(p->on_cpu))
		return;
	if (goes) {
		run->p = p;
		run->used_ns = used(run, p);
		above_begins(run);
	} else if (run->p == p) {
		charge(p, task_cpu(p), used(run, p) - run->used_ns);
		run->p = NULL;
		if (run->since_ns)
			above_ends(run);
	}
}

/**
 * spare_realtime_attach - the class begins
 *
 * Who went to the fair class when the last one ended, and has run since, was no real-time thread.
 *
 * Context: process.
 */
void spare_realtime_attach(void)
{
	int cpu;

	for_each_possible_cpu(cpu)
		WRITE_ONCE(per_cpu_ptr(&runs, cpu)->p, NULL);
}

static const struct {
	const char *name;
	void *probe;
} seen[] = {
	{ "sched_switch", switched },
	/* These last: with PREEMPT_RT they are not seen. */
	{ "softirq_entry", softirq_begins },
	{ "softirq_exit", softirq_ends },
};

static struct tracepoint *tracepoints[ARRAY_SIZE(seen)];
static const unsigned int nr_seen = IS_ENABLED(CONFIG_PREEMPT_RT) ? 1 : ARRAY_SIZE(seen);

static void find(struct tracepoint *tp, void *unused)
{
	unsigned int i;

	for (i = 0; i < nr_seen; i++)
		if (!strcmp(tp->name, seen[i].name))
			tracepoints[i] = tp;
}

/* The first @n of them. */
static void forget(unsigned int n)
{
	while (n--)
		tracepoint_probe_unregister(tracepoints[n], seen[n].probe, NULL);
	tracepoint_synchronize_unregister();
}

/**
 * spare_realtime_init - see switches and softirqs from now on
 *
 * Context: process, at load.
 * Return: 0; -errno.
 */
int spare_realtime_init(void)
{
	unsigned int i;
	int err;

	for_each_kernel_tracepoint(find, NULL);
	for (i = 0; i < nr_seen; i++) {
		if (!tracepoints[i])
			pr_err("this kernel has no tracepoint %s\n", seen[i].name);
		err = tracepoints[i] ? tracepoint_probe_register(tracepoints[i], seen[i].probe, NULL) : -ENOENT;
		if (err) {
			forget(i);
			return err;
		}
	}
	return 0;
}

/**
 * spare_realtime_exit - and no more
 *
 * Context: process, at unload; waits for those that are seen.
 */
void spare_realtime_exit(void)
{
	forget(nr_seen);
}
