// SPDX-License-Identifier: GPL-2.0
/*
 * kfuncs for the class.
 *
 * "Context: scheduler" below: called with IRQs off, as a rule under a run-queue lock; takes no lock but raw ones, never sleeps, never
 * touches a run queue.
 *
 * Functions that return memory return int * with a parameter named rdwr_buf_size: the verifier takes that as
 * "this many writable bytes". It is valid under RCU, which a scheduler operation is from beginning to end.
 *
 * A task is passed as p__ign: the verifier then takes any argument without comparing its type. It would
 * compare our copy of struct task_struct with the kernel's by identity, and a module built with another pahole
 * than the kernel (1.30 flattens arrays of arrays, 1.32 does not) has a copy of its own. The class must pass a
 * task that sched_ext gave it. So nobody else is served: the verifier refuses a program that is not of a sched_ext scheduler, or not
 * one of the class's by its name (spare_*).
 *
 * The class can write to what it is given. The module takes nothing from there as an index or a pointer.
 */
#include <linux/btf.h>
#include <linux/btf_ids.h>
#include <linux/bpf.h>
#include <linux/string.h>
#include "class.h"
#include "debt.h"
#include "event.h"
#include "hook.h"
#include "kfuncs.h"
#include "kick.h"
#include "node.h"
#include "realtime.h"
#include "server.h"
#include "stock.h"
#include "timer.h"
#include "vm.h"

#define CREATE_TRACE_POINTS
#include "trace.h"

/**
 * spare_task_vm - the VM that a task belongs to
 * @p__ign: the task
 * @rdwr_buf_size: sizeof(struct spare_vm)
 *
 * Context: scheduler.
 * Return: the nearest VM above the task's cgroup, itself included; NULL: none.
 */
__bpf_kfunc int *spare_task_vm(struct task_struct *p__ign, const int rdwr_buf_size)
{
	if (rdwr_buf_size != sizeof(struct spare_vm))
		return NULL;
	return (int *)spare_task_effective(p__ign);
}

/**
 * spare_task_slot - the server of a task's VM on a CPU
 * @p__ign: the task
 * @cpu: any number
 *
 * A CPU that goes offline has no server from the moment on at which it is no longer active: the kernel then waits for an RCU grace
 * period before it calls ops.cpu_offline, which so finds that nobody puts threads there any more.
 *
 * Context: scheduler.
 * Return: its slot, or SPARE_NO_SLOT.
 */
__bpf_kfunc u32 spare_task_slot(struct task_struct *p__ign, s32 cpu)
{
	struct spare_vm_kern *vm;

	if (!spare_cpu_serves(cpu))
		return SPARE_NO_SLOT;
	guard(rcu)();
	vm = spare_task_effective(p__ign);
	return vm ? spare_vm_slot_on(vm, cpu) : SPARE_NO_SLOT;
}

static s32 next_cpu(const struct spare_vm_kern *vm, u32 from)
{
	unsigned int cpu = from;

	if (from >= nr_cpu_ids)
		return -1;
	for_each_set_bit_from(cpu, (const unsigned long *)vm->abi.cpus, nr_cpu_ids)
		if (cpu_active(cpu))
			return cpu;
	return -1;
}

/**
 * spare_task_next_cpu - where else a task's VM is served
 * @p__ign: the task
 * @from: first CPU that counts
 *
 * Context: scheduler.
 * Return: first CPU from @from on where its VM has a server that serves; -1: none.
 */
__bpf_kfunc s32 spare_task_next_cpu(struct task_struct *p__ign, u32 from)
{
	struct spare_vm_kern *vm;

	guard(rcu)();
	vm = spare_task_effective(p__ign);
	return vm ? next_cpu(vm, from) : -1;
}

/**
 * spare_vm_next_cpu - where else the VM of a server is served
 * @cpu: the server's CPU
 * @slot: and slot
 * @from: first CPU that counts
 *
 * Context: scheduler.
 * Return: as spare_task_next_cpu(); -1, too, when there is no such server.
 */
__bpf_kfunc s32 spare_vm_next_cpu(s32 cpu, u32 slot, u32 from)
{
	struct spare_server_kern *srv;

	guard(rcu)();
	srv = spare_server_at(cpu, slot);
	return srv ? next_cpu(srv->vm, from) : -1;
}

/**
 * spare_server_get - a server
 * @cpu: any number
 * @slot: likewise
 * @rdwr_buf_size: sizeof(struct spare_server)
 *
 * Context: scheduler.
 * Return: what is published there; NULL: nothing.
 */
__bpf_kfunc int *spare_server_get(s32 cpu, u32 slot, const int rdwr_buf_size)
{
	if (rdwr_buf_size != sizeof(struct spare_server))
		return NULL;
	return (int *)spare_server_at(cpu, slot);
}

/**
 * spare_server_vm - the VM of a server
 * @cpu: any number
 * @slot: likewise
 * @rdwr_buf_size: sizeof(struct spare_vm)
 *
 * Context: scheduler.
 * Return: the VM that owns it; NULL: there is no such server.
 */
__bpf_kfunc int *spare_server_vm(s32 cpu, u32 slot, const int rdwr_buf_size)
{
	struct spare_server_kern *srv;

	if (rdwr_buf_size != sizeof(struct spare_vm))
		return NULL;
	srv = spare_server_at(cpu, slot);
	return srv ? (int *)srv->vm : NULL;
}

/**
 * spare_server_cost - a server's part of what its VM has cost outside its servers (DEBT-1)
 * @cpu: its CPU
 * @slot: and slot
 * @total__nullable: what the VM has cost so far, in all; only grows, also while this reads it; NULL: nobody counts
 *
 * Context: scheduler.
 * Return: what is new to this server, in ns; 0, too, when there is no such server.
 */
__bpf_kfunc u64 spare_server_cost(s32 cpu, u32 slot, const u64 *total__nullable)
{
	struct spare_server_kern *srv;

	guard(rcu)();
	srv = spare_server_at(cpu, slot);
	return srv ? spare_debt_part(srv, total__nullable) : 0;
}

/**
 * spare_vm_slot - a server's sibling
 * @cpu: the server's CPU
 * @slot: and slot
 * @other_cpu: any number
 *
 * Context: scheduler.
 * Return: slot on @other_cpu of the same VM, or SPARE_NO_SLOT.
 */
__bpf_kfunc u32 spare_vm_slot(s32 cpu, u32 slot, s32 other_cpu)
{
	struct spare_server_kern *srv;

	if (!spare_cpu_serves(other_cpu))
		return SPARE_NO_SLOT;
	guard(rcu)();
	srv = spare_server_at(cpu, slot);
	return srv ? spare_vm_slot_on(srv->vm, other_cpu) : SPARE_NO_SLOT;
}

/**
 * spare_timer_arm - a CPU's budget timer
 * @cpu: any number; this CPU, or under core scheduling a sibling, whose run-queue lock is held
 * @when_ns: of CLOCK_MONOTONIC (past: at once, later while it is unanswered: timer.c); 0 cancels
 * @end_ns: when the time of what runs ends; from then on it may leave the kernel first; 0: it has to give way at once
 *
 * Context: scheduler; the timer's interrupt sends the CPU through it again.
 */
__bpf_kfunc void spare_timer_arm(s32 cpu, u64 when_ns, u64 end_ns)
{
	unsigned long flags;

	if (!spare_cpu_valid(cpu))
		return;
	local_irq_save(flags);
	spare_timer_set(cpu, when_ns, end_ns);
	local_irq_restore(flags);
}

/**
 * spare_cpu_deadline - what SCHED_DEADLINE threads hold; admission leaves it to them
 * @cpu: any number
 * @ppm: of that CPU
 *
 * Context: scheduler.
 */
__bpf_kfunc void spare_cpu_deadline(s32 cpu, u32 ppm)
{
	if (spare_cpu_valid(cpu))
		WRITE_ONCE(per_cpu_ptr(spare_cpus, cpu)->deadline_ppm, ppm);
}

/**
 * spare_kick - send a CPU through the scheduler
 * @cpu: any number
 *
 * Context: scheduler; by an interrupt there, so that no other run queue's lock is taken under this one's.
 */
__bpf_kfunc void spare_kick(s32 cpu)
{
	if (spare_cpu_valid(cpu))
		spare_kick_cpu(cpu);
}

/**
 * spare_attend - the class shall look at a server
 * @cpu: its CPU, which is kicked
 * @slot: whose attention bit is set
 *
 * Context: scheduler.
 */
__bpf_kfunc void spare_attend(s32 cpu, u32 slot)
{
	if (spare_cpu_valid(cpu) && slot < SPARE_SLOTS)
		spare_server_attend(cpu, slot);
}

/**
 * spare_attention - the next server that the class shall look at
 * @cpu: any number
 *
 * Context: ops.dispatch of @cpu, which by this answers the timer.
 * Return: the lowest attention bit of @cpu, which is cleared; SPARE_NO_SLOT: none.
 */
__bpf_kfunc u32 spare_attention(s32 cpu)
{
	if (!spare_cpu_valid(cpu))
		return SPARE_NO_SLOT;
	spare_timer_answered(cpu);
	spare_kick_dispatches(cpu);
	return spare_server_attention(cpu);
}

/**
 * spare_notify - ev[] of a server's VM has changed: who polls spare.events is told
 * @cpu: the server's CPU
 * @slot: and slot
 *
 * Context: scheduler.
 */
__bpf_kfunc void spare_notify(s32 cpu, u32 slot)
{
	struct spare_server_kern *srv;

	guard(rcu)();
	srv = spare_server_at(cpu, slot);
	if (srv)
		spare_event_notify(srv->vm);
}

/**
 * spare_trace - what has just become of a server, for those who trace
 * @cpu: its CPU
 * @slot: and slot
 * @what: enum spare_trace_what
 * @provider: of a grant, the provider's slot on @cpu
 *
 * Context: scheduler.
 */
__bpf_kfunc void spare_trace(s32 cpu, u32 slot, u32 what, u32 provider)
{
	struct spare_server_kern *srv;

	guard(rcu)();
	srv = spare_server_at(cpu, slot);
	if (!srv)
		return;
	switch (what) {
	case SPARE_TRACE_THROTTLE:
		trace_spare_throttle(srv);
		break;
	case SPARE_TRACE_REPLENISH:
		trace_spare_replenish(srv);
		break;
	case SPARE_TRACE_GRANT:
		trace_spare_grant(srv, spare_server_at(cpu, provider));
		break;
	case SPARE_TRACE_DENY:
		trace_spare_deny(srv, NULL);
		break;
	}
}

/**
 * spare_task_receives - is a task woken by a packet for its VM? So it is one of those that serve its network (SPARE-9)
 * @p__ign: the task, which is being woken on this CPU
 *
 * Context: scheduler.
 * Return: true once for each packet.
 */
__bpf_kfunc bool spare_task_receives(struct task_struct *p__ign)
{
	guard(rcu)();
	return spare_hook_wakes(p__ign);
}

/**
 * spare_task_changes - a task changes its scheduling class (CBS-11)
 * @p__ign: the task
 * @goes: to another one; else it comes into ours
 *
 * Context: scheduler, under the task's run-queue lock.
 */
__bpf_kfunc void spare_task_changes(struct task_struct *p__ign, bool goes)
{
	spare_realtime_change(p__ign, goes);
}

/**
 * spare_above_ns - what has gone before the class's threads so far (ACC-2)
 * @cpu: any number
 * @now_ns: of CLOCK_MONOTONIC
 *
 * Context: scheduler.
 * Return: CPU time of softirqs, of real-time and of deadline threads there; only the difference of two means something.
 */
__bpf_kfunc u64 spare_above_ns(s32 cpu, u64 now_ns)
{
	return spare_realtime_above(cpu, now_ns);
}

/**
 * spare_queues_wanted - what the class is asked to make (CBS-12)
 *
 * Context: any.
 * Return: queues for servers that it shall have made.
 */
__bpf_kfunc u32 spare_queues_wanted(void)
{
	return spare_stock_wanted();
}

/**
 * spare_queues_made - its answer
 * @made: queues that it has made
 *
 * Context: any; never sleeps. Who waits for them polls.
 */
__bpf_kfunc void spare_queues_made(u32 made)
{
	spare_stock_made(made);
}

/**
 * spare_server_release - the class has forgotten a DYING server
 * @cpu: its CPU
 * @slot: and slot, which may be another server's after an RCU grace period
 *
 * Context: scheduler.
 */
__bpf_kfunc void spare_server_release(s32 cpu, u32 slot)
{
	struct spare_server_kern *srv;

	guard(rcu)();
	srv = spare_server_at(cpu, slot);
	if (srv)
		spare_server_released(srv);
}

/**
 * spare_class_attach - a class begins
 * @abi: SPARE_ABI that it was built with
 *
 * Context: process, from ops.init; may sleep.
 * Return: 0; -EPROTO: @abi is another one than the module's (LIFE-6); -EBUSY: a class is attached.
 */
__bpf_kfunc int spare_class_attach(u32 abi)
{
	int err;

	if (abi != SPARE_ABI) {
		pr_err("the class speaks ABI %u, the module %u: rebuild and reload both\n", abi, SPARE_ABI);
		return -EPROTO;
	}
	err = spare_server_attach();
	if (!err)
		spare_realtime_attach();
	return err;
}

/**
 * spare_class_detach - the class has ended
 *
 * Context: process, from ops.exit; may sleep.
 */
__bpf_kfunc void spare_class_detach(void)
{
	spare_server_detach();
}

BTF_KFUNCS_START(class_kfuncs)
BTF_ID_FLAGS(func, spare_task_vm, KF_RET_NULL | KF_RCU_PROTECTED)
BTF_ID_FLAGS(func, spare_task_slot)
BTF_ID_FLAGS(func, spare_task_receives)
BTF_ID_FLAGS(func, spare_task_changes)
BTF_ID_FLAGS(func, spare_above_ns)
BTF_ID_FLAGS(func, spare_server_get, KF_RET_NULL | KF_RCU_PROTECTED)
BTF_ID_FLAGS(func, spare_server_vm, KF_RET_NULL | KF_RCU_PROTECTED)
BTF_ID_FLAGS(func, spare_server_cost)
BTF_ID_FLAGS(func, spare_vm_slot)
BTF_ID_FLAGS(func, spare_task_next_cpu)
BTF_ID_FLAGS(func, spare_vm_next_cpu)
BTF_ID_FLAGS(func, spare_cpu_deadline)
BTF_ID_FLAGS(func, spare_timer_arm)
BTF_ID_FLAGS(func, spare_kick)
BTF_ID_FLAGS(func, spare_attend)
BTF_ID_FLAGS(func, spare_attention)
BTF_ID_FLAGS(func, spare_notify)
BTF_ID_FLAGS(func, spare_trace)
BTF_ID_FLAGS(func, spare_server_release)
BTF_ID_FLAGS(func, spare_queues_wanted)
BTF_ID_FLAGS(func, spare_queues_made)
BTF_ID_FLAGS(func, spare_class_attach)
BTF_ID_FLAGS(func, spare_class_detach)
BTF_KFUNCS_END(class_kfuncs)

/* The verifier asks for every function of this module's that a struct_ops program calls. */
static int class_only(const struct bpf_prog *prog, u32 kfunc_id)
{
	const struct bpf_struct_ops *ops = prog->aux->st_ops;

	return ops && !strcmp(ops->name, "sched_ext_ops") && str_has_prefix(prog->aux->name, "spare_") ? 0 : -EACCES;
}

static const struct btf_kfunc_id_set class_set = {
	.owner	= THIS_MODULE,
	.set	= &class_kfuncs,
	.filter	= class_only,
};

/**
 * spare_kfuncs_init - let programs of the class call the kfuncs
 *
 * Context: process, at load, when all else is there.
 * Return: 0; -errno.
 */
int spare_kfuncs_init(void)
{
	int err = register_btf_kfunc_id_set(BPF_PROG_TYPE_STRUCT_OPS, &class_set);

	if (err)
		pr_err("cannot register kfuncs (%d): was the module built without the kernel's BTF (vmlinux)?\n", err);
	return err;
}
