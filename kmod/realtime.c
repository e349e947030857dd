// SPDX-License-Identifier: GPL-2.0
/*
 * Real-time and deadline threads run before every server, and the class is not asked (CBS-11). What those of a VM use is counted, said, and
 * left to its servers as debt: its other threads pay.
 *
 * Seen in sched_switch, at the switch away from one, when the kernel has brought its account up to date; one that is never switched away from
 * keeps nobody waiting. Who changes its class while it runs, or is boosted by a lock that a real-time thread wants, is not switched: the class
 * tells. Modules find that tracepoint in the kernel's list.
 */
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

/* The real-time thread that runs on a CPU (told by its address alone), and what it had used when it was switched to. */
struct run {
	const struct task_struct *p;
	u64 used_ns;
};

static DEFINE_PER_CPU(struct run, runs);
static struct tracepoint *sched_switch;

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
static noinline void charge(struct task_struct *p, unsigned int cpu, u64 ns)
{
	struct spare_server_kern *srv;
	struct spare_vm_kern *vm;
	u64 now;

	guard(rcu)();
	vm = spare_class_attached() ? spare_task_effective(p) : NULL;
	srv = vm ? payer(vm, cpu) : NULL;
	if (!srv)
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
		charge(prev, smp_processor_id(), prev->se.sum_exec_runtime - run->used_ns);
	if (likely(next->prio >= MAX_RT_PRIO)) {
		run->p = NULL;
		return;
	}
	run->p = next;
	run->used_ns = next->se.sum_exec_runtime;
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
		run->used_ns = p->se.sum_exec_runtime;
	} else if (run->p == p) {
		charge(p, task_cpu(p), p->se.sum_exec_runtime - run->used_ns);
		run->p = NULL;
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

static void find(struct tracepoint *tp, void *unused)
{
	if (!strcmp(tp->name, "sched_switch"))
		sched_switch = tp;
}

/**
 * spare_realtime_init - see switches from now on
 *
 * Context: process, at load.
 * Return: 0; -errno.
 */
int spare_realtime_init(void)
{
	for_each_kernel_tracepoint(find, NULL);
	if (!sched_switch) {
		pr_err("this kernel has no tracepoint sched_switch\n");
		return -ENOENT;
	}
	return tracepoint_probe_register(sched_switch, switched, NULL);
}

/**
 * spare_realtime_exit - and no more
 *
 * Context: process, at unload; waits for those that are seen.
 */
void spare_realtime_exit(void)
{
	tracepoint_probe_unregister(sched_switch, switched, NULL);
	tracepoint_synchronize_unregister();
}
