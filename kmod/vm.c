// SPDX-License-Identifier: GPL-2.0
#include <linux/cgroup.h>
#include <linux/cpu.h>
#include <linux/rtnetlink.h>
#include <linux/slab.h>
#include "vm.h"

DEFINE_MUTEX(spare_config);	/* see vm.h */
LIST_HEAD(spare_vms);
LIST_HEAD(spare_providers);	/* of these, those with spare.provide 1, in that order */

/**
 * spare_vm_alloc - a VM, with which nothing has been done yet
 * @css: of its cgroup, in the io controller
 *
 * Context: process, under spare_config.
 * Return: the VM, in spare_vms, with a reference for the caller; NULL: no memory.
 */
struct spare_vm_kern *spare_vm_alloc(struct cgroup_subsys_state *css)
{
	static const struct spare_policy policy = SPARE_POLICY_DEFAULT;
	struct spare_vm_kern *vm;
	unsigned int i;

	lockdep_assert_held(&spare_config);
	vm = kzalloc(struct_size(vm, slot, nr_cpu_ids), GFP_KERNEL);
	if (!vm)
		return NULL;
	vm->css = css;
	css_get(vm->css);
	vm->abi.id = cgroup_id(vm->css->cgroup);
	refcount_set(&vm->refs, 1);
	spin_lock_init(&vm->lock);
	raw_spin_lock_init(&vm->share_lock);
	INIT_LIST_HEAD(&vm->providing);
	INIT_LIST_HEAD(&vm->uses);
	INIT_LIST_HEAD(&vm->taps);
	INIT_LIST_HEAD(&vm->gone);
	for (i = 0; i < nr_cpu_ids; i++)
		vm->slot[i] = SPARE_NO_SLOT;
	spare_vm_set_policy(vm, &policy);
	list_add_tail(&vm->all, &spare_vms);
	return vm;
}

/**
 * spare_vm_get - keep a VM
 * @vm: one that is held
 *
 * Context: any.
 */
void spare_vm_get(struct spare_vm_kern *vm)
{
	refcount_inc(&vm->refs);
}

/**
 * spare_vm_put - and no more; RCU holds it for a grace period
 * @vm: may be freed
 *
 * Context: any.
 */
void spare_vm_put(struct spare_vm_kern *vm)
{
	if (refcount_dec_and_test(&vm->refs))
		kfree_rcu(vm, rcu);
}

/**
 * spare_vm_path - path of a VM in the initial cgroup namespace, for messages
 * @vm: one that has not been removed
 * @buf: for it
 * @size: of @buf
 *
 * Context: any (vm.h: a leaf of kernfs's).
 * Return: @buf, or "?".
 */
const char *spare_vm_path(const struct spare_vm_kern *vm, char *buf, size_t size)
{
	if (kernfs_path_from_node(vm->css->cgroup->kn, NULL, buf, size) < 0)
		return "?";
	return buf;
}

/**
 * spare_vm_set_policy - what the class reads of spare.policy
 * @vm: whose
 * @pol: checked
 *
 * Context: process, under spare_config.
 */
void spare_vm_set_policy(struct spare_vm_kern *vm, const struct spare_policy *pol)
{
	WRITE_ONCE(vm->abi.grant_ns, pol->grant_us * (u64)NSEC_PER_USEC);
	WRITE_ONCE(vm->abi.chances, pol->chances);
	WRITE_ONCE(vm->abi.window_ns, pol->window_us * (u64)NSEC_PER_USEC);
	WRITE_ONCE(vm->abi.gain_ns, pol->gain_us * (u64)NSEC_PER_USEC);
	WRITE_ONCE(vm->abi.flags, (pol->payback ? SPARE_VM_PAYBACK : 0) | (pol->wait ? 0 : SPARE_VM_NOWAIT) |
				  (pol->hasten ? SPARE_VM_HASTEN : 0) | (pol->charge == SPARE_CHARGE_DEBT ? SPARE_VM_CHARGE : 0));
	WRITE_ONCE(vm->abi.interval_ns, pol->interval_us * (u64)NSEC_PER_USEC);
}

/**
 * spare_vm_policy - the same back
 * @vm: whose
 *
 * Context: any, no lock.
 * Return: the policy; each value is a true one of this moment.
 */
struct spare_policy spare_vm_policy(const struct spare_vm_kern *vm)
{
	u32 flags = READ_ONCE(vm->abi.flags);

	return (struct spare_policy) {
		.grant_us	= div_u64(READ_ONCE(vm->abi.grant_ns), NSEC_PER_USEC),
		.chances	= READ_ONCE(vm->abi.chances),
		.window_us	= div_u64(READ_ONCE(vm->abi.window_ns), NSEC_PER_USEC),
		.gain_us	= div_u64(READ_ONCE(vm->abi.gain_ns), NSEC_PER_USEC),
		.payback	= !!(flags & SPARE_VM_PAYBACK),
		.wait		= !(flags & SPARE_VM_NOWAIT),
		.hasten		= !!(flags & SPARE_VM_HASTEN),
		.charge		= flags & SPARE_VM_CHARGE ? SPARE_CHARGE_DEBT : SPARE_CHARGE_NONE,
		.interval_us	= div_u64(READ_ONCE(vm->abi.interval_ns), NSEC_PER_USEC),
	};
}

static void __maybe_unused take_config(void)
{
	mutex_lock(&spare_config);
	mutex_unlock(&spare_config);
}

/**
 * spare_lock_order - teach lockdep the order of locks (LIFE-8)
 *
 * Foreign locks go before ours: said once here, so that a kernel with PROVE_LOCKING names whoever takes one under ours the first time that he does,
 * contended or not. (It exports cgroup_mutex to modules.)
 *
 * Context: process, at load; no locks.
 */
void spare_lock_order(void)
{
#ifdef CONFIG_PROVE_LOCKING
	/* One by one: how they stand to each other is the kernel's business. */
	cgroup_lock();	/* (exported to modules where there is lockdep) */
	take_config();
	cgroup_unlock();
	cpus_read_lock();
	take_config();
	cpus_read_unlock();
	rtnl_lock();
	take_config();
	rtnl_unlock();
#endif
}
