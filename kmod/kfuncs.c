// SPDX-License-Identifier: GPL-2.0
/*
 * kfuncs for the class. All but attach and detach are called with IRQs off under a run-queue lock: they take
 * no lock that is not raw, never sleep, never touch a run queue.
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
#include "event.h"
#include "hook.h"
#include "kfuncs.h"
#include "kick.h"
#include "node.h"
#include "realtime.h"
#include "server.h"
#include "timer.h"
#include "vm.h"

/* struct spare_vm of the VM that the task belongs to; NULL: none. */
__bpf_kfunc int *spare_task_vm(struct task_struct *p__ign, const int rdwr_buf_size)
{
	if (rdwr_buf_size != sizeof(struct spare_vm))
		return NULL;
	return (int *)spare_task_effective(p__ign);
}

/*
 * Slot on @cpu of the server of the task's VM, or SPARE_NO_SLOT. A CPU that goes offline has none from the moment on at
 * which it is no longer active: the kernel then waits for an RCU grace period before it calls ops.cpu_offline, which so
 * finds that nobody puts threads there any more.
 */
__bpf_kfunc u32 spare_task_slot(struct task_struct *p__ign, s32 cpu)
{
	struct vm *vm;

	if (!spare_cpu_serves(cpu))
		return SPARE_NO_SLOT;
	guard(rcu)();
	vm = spare_task_effective(p__ign);
	return vm ? spare_vm_slot_on(vm, cpu) : SPARE_NO_SLOT;
}

static s32 next_cpu(const struct vm *vm, u32 from)
{
	unsigned int cpu = from;

	if (from >= nr_cpu_ids)
		return -1;
	for_each_set_bit_from(cpu, (const unsigned long *)vm->abi.cpus, nr_cpu_ids)
		if (cpu_active(cpu))
			return cpu;
	return -1;
}

/* First CPU from @from on where the task's VM has a server that serves; -1: none. */
__bpf_kfunc s32 spare_task_next_cpu(struct task_struct *p__ign, u32 from)
{
	struct vm *vm;

	guard(rcu)();
	vm = spare_task_effective(p__ign);
	return vm ? next_cpu(vm, from) : -1;
}

/* The same for the VM that owns (@cpu, @slot). */
__bpf_kfunc s32 spare_vm_next_cpu(s32 cpu, u32 slot, u32 from)
{
	struct server *srv;

	guard(rcu)();
	srv = spare_server_at(cpu, slot);
	return srv ? next_cpu(srv->vm, from) : -1;
}

/* struct spare_server published at (@cpu, @slot), or NULL. */
__bpf_kfunc int *spare_server_get(s32 cpu, u32 slot, const int rdwr_buf_size)
{
	if (rdwr_buf_size != sizeof(struct spare_server))
		return NULL;
	return (int *)spare_server_at(cpu, slot);
}

/* struct spare_vm that owns the server at (@cpu, @slot), or NULL. */
__bpf_kfunc int *spare_server_vm(s32 cpu, u32 slot, const int rdwr_buf_size)
{
	struct server *srv;

	if (rdwr_buf_size != sizeof(struct spare_vm))
		return NULL;
	srv = spare_server_at(cpu, slot);
	return srv ? (int *)srv->vm : NULL;
}

/* Slot on @other_cpu of the VM that owns (@cpu, @slot), or SPARE_NO_SLOT. */
__bpf_kfunc u32 spare_vm_slot(s32 cpu, u32 slot, s32 other_cpu)
{
	struct server *srv;

	if (!spare_cpu_serves(other_cpu))
		return SPARE_NO_SLOT;
	guard(rcu)();
	srv = spare_server_at(cpu, slot);
	return srv ? spare_vm_slot_on(srv->vm, other_cpu) : SPARE_NO_SLOT;
}

/* Arm this CPU's budget timer for @when_ns of CLOCK_MONOTONIC (past: at once); 0 cancels. */
__bpf_kfunc void spare_timer_arm(u64 when_ns)
{
	unsigned long flags;

	local_irq_save(flags);
	spare_timer_set(when_ns);
	local_irq_restore(flags);
}

/* SCHED_DEADLINE threads hold @ppm of @cpu: admission leaves it to them. */
__bpf_kfunc void spare_cpu_deadline(s32 cpu, u32 ppm)
{
	if (spare_cpu_valid(cpu))
		WRITE_ONCE(per_cpu_ptr(spare_cpus, cpu)->deadline_ppm, ppm);
}

/* Send @cpu through the scheduler. */
__bpf_kfunc void spare_kick(s32 cpu)
{
	if (spare_cpu_valid(cpu))
		spare_kick_cpu(cpu);
}

/* The class shall look at (@cpu, @slot): set its attention bit and kick the CPU. */
__bpf_kfunc void spare_attend(s32 cpu, u32 slot)
{
	if (spare_cpu_valid(cpu) && slot < SPARE_SLOTS)
		spare_server_attend(cpu, slot);
}

/* Clear and return the lowest attention bit of @cpu, or SPARE_NO_SLOT. */
__bpf_kfunc u32 spare_attention(s32 cpu)
{
	return spare_cpu_valid(cpu) ? spare_server_attention(cpu) : SPARE_NO_SLOT;
}

/* Counters in ev[] of the VM of (@cpu, @slot) have changed. */
__bpf_kfunc void spare_notify(s32 cpu, u32 slot)
{
	struct server *srv;

	guard(rcu)();
	srv = spare_server_at(cpu, slot);
	if (srv)
		spare_event_notify(srv->vm);
}

/* Is the task, which is being woken on this CPU, woken by a packet for its VM? So it is one of those that serve its network (SPARE-9). */
__bpf_kfunc bool spare_task_receives(struct task_struct *p__ign)
{
	guard(rcu)();
	return spare_hook_wakes(p__ign);
}

/* The task comes into the class, or goes to another one (CBS-11). Under its run-queue lock. */
__bpf_kfunc void spare_task_changes(struct task_struct *p__ign, bool goes)
{
	spare_realtime_change(p__ign, goes);
}

/* Queues for servers that the class shall have made (CBS-12). */
__bpf_kfunc u32 spare_queues_wanted(void)
{
	return spare_server_queues_wanted();
}

/* It has made @made. */
__bpf_kfunc void spare_queues_made(u32 made)
{
	spare_server_queues_made(made);
}

/* The class has forgotten the DYING server at (@cpu, @slot). */
__bpf_kfunc void spare_server_release(s32 cpu, u32 slot)
{
	struct server *srv;

	guard(rcu)();
	srv = spare_server_at(cpu, slot);
	if (srv)
		spare_server_released(srv);
}

/* From ops.init. -EPROTO: @abi is another one than the module's (LIFE-6); -EBUSY: a class is attached. */
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

/* From ops.exit. */
__bpf_kfunc void spare_class_detach(void)
{
	spare_server_detach();
}

BTF_KFUNCS_START(class_kfuncs)
BTF_ID_FLAGS(func, spare_task_vm, KF_RET_NULL | KF_RCU_PROTECTED)
BTF_ID_FLAGS(func, spare_task_slot)
BTF_ID_FLAGS(func, spare_task_receives)
BTF_ID_FLAGS(func, spare_task_changes)
BTF_ID_FLAGS(func, spare_server_get, KF_RET_NULL | KF_RCU_PROTECTED)
BTF_ID_FLAGS(func, spare_server_vm, KF_RET_NULL | KF_RCU_PROTECTED)
BTF_ID_FLAGS(func, spare_vm_slot)
BTF_ID_FLAGS(func, spare_task_next_cpu)
BTF_ID_FLAGS(func, spare_vm_next_cpu)
BTF_ID_FLAGS(func, spare_cpu_deadline)
BTF_ID_FLAGS(func, spare_timer_arm)
BTF_ID_FLAGS(func, spare_kick)
BTF_ID_FLAGS(func, spare_attend)
BTF_ID_FLAGS(func, spare_attention)
BTF_ID_FLAGS(func, spare_notify)
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

int spare_kfuncs_init(void)
{
	int err = register_btf_kfunc_id_set(BPF_PROG_TYPE_STRUCT_OPS, &class_set);

	if (err)
		pr_err("cannot register kfuncs (%d): was the module built without the kernel's BTF (vmlinux)?\n", err);
	return err;
}
