/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A VM: a cgroup to whose spare.* files somebody has written. This is the ground that the rest stands on: the object, its references,
 * the list of all, and the locks. What is done with it is in config.c.
 *
 * Locks (LIFE-8), from the outermost:
 *
 *   arm_lock		(hook.c) serializes tracing the functions where taps receive. ftrace's locks are taken under it, so it is apart: nobody
 *			takes it who has one of ours or RTNL, and who waits for it is a writer to spare.netdev, or who loads or unloads a module.
 *   spare_config	serializes configuration: writes to the files, and the sweep. Who reads a file does not take it.
 *   vm->lock		what the files of one VM show. To change that takes both, to read it this one. A spinlock: anybody may read, and whoever does
 *			is not stopped by a cpu.max of his while a writer waits for him.
 *   vm->share_lock	what the VM has cost, and what of it each server had. The class takes it under a run-queue lock; a leaf.
 *   taps_lock		(tap.c) the lists of taps; under spare_config, or under RTNL, never with vm->lock.
 *
 * An operation of a file keeps its cgroup from being removed, by somebody who holds cgroup_mutex meanwhile: none may wait for that either, nor
 * for whoever may (a fork, while a scheduler is being loaded), but for some time.
 *
 * Under spare_config and what comes after it nothing is waited for that others hold while they wait for us, or for long: not RTNL, cgroup_mutex,
 * the io controller's mutex, ftrace's, CPU hotplug, nor kernfs's semaphores. What needs one of them is done before or after. (Not so leaves that
 * are held for some instructions: the allocator's, a workqueue's, and kernfs's around the name of a cgroup, spare_vm_path().) Under a foreign lock
 * only a leaf of ours is taken (taps_lock, under RTNL), but for the unloading of the module, which nobody else waits for. spare_lock_order()
 * teaches lockdep that order when the module is loaded.
 */
#ifndef KMOD_VM_H
#define KMOD_VM_H

#include <linux/bitmap.h>
#include <linux/cpumask.h>
#include <linux/list.h>
#include <linux/mutex.h>
#include <linux/refcount.h>
#include <linux/spinlock.h>
#include <sched_spare/abi.h>
#include <sched_spare/debt.h>
#include <sched_spare/parse.h>

struct cgroup_subsys_state;

extern struct mutex spare_config;

struct spare_vm_config {
	struct spare_reservation res;
	bool provide;
	bool cpus_auto;			/* cpus were written with "auto" */
	unsigned long cpus[BITS_TO_LONGS(SPARE_CPUS_MAX)];
};

struct spare_vm_kern {
	struct spare_vm abi;		/* first: what the class sees, and may write: nothing in it is an index or a pointer of ours */
	struct cgroup_subsys_state *css;/* reference until it is removed */
	bool removed;			/* [config] css is dying: no files, no servers, not in spare_vms */
	struct list_head all;		/* [config] in spare_vms, in order of first write */
	struct list_head providing;	/* [config] in spare_providers, while cfg.provide; else empty */
	bool visited;			/* [config] cycle search */

	spinlock_t lock;
	struct spare_vm_config cfg;	/* [lock] */
	struct list_head uses;		/* [lock] struct spare_use (use.h) */
	unsigned int nr_uses;		/* [lock] */
	bool use_manual;		/* [lock] that list was written, or emptied, by an operator: without "auto" */
	unsigned int nr_servers;	/* [lock] published and not dying */
	struct list_head gone;		/* [lock] servers that are dying */
	struct spare_stats past;	/* [lock] of servers that are gone */

	raw_spinlock_t share_lock;
	struct spare_share share;	/* [share_lock] */

	struct list_head taps;		/* struct spare_tap (tap.h), under its lock or RCU */
	u64 rt_said_ns;			/* when SPARE_EV_RT was last counted */
	atomic_t notify;		/* spare.events is to be notified */
	refcount_t refs;		/* node, servers (dying ones too), taps */
	struct rcu_head rcu;
	u16 slot[];			/* [lock] [nr_cpu_ids] of its server there, or SPARE_NO_SLOT */
};

extern struct list_head spare_vms, spare_providers;

/**
 * spare_vm_placed - has a VM servers?
 * @vm: which
 *
 * Context: under vm->lock or spare_config.
 * Return: true: it has.
 */
static inline bool spare_vm_placed(const struct spare_vm_kern *vm)
{
	return vm->nr_servers;
}

/**
 * spare_vm_is_provider - may others borrow from a VM?
 * @vm: which
 *
 * Context: process, under spare_config.
 * Return: true: they may, where it has servers.
 */
static inline bool spare_vm_is_provider(const struct spare_vm_kern *vm)
{
	return vm->cfg.provide && vm->cfg.res.period_us && !vm->removed;
}

/**
 * spare_vm_slot_on - a VM's server on a CPU
 * @vm: which
 * @cpu: below nr_cpu_ids
 *
 * Context: under vm->lock or spare_config, or RCU as the class does.
 * Return: its slot, or SPARE_NO_SLOT.
 */
static inline u16 spare_vm_slot_on(const struct spare_vm_kern *vm, unsigned int cpu)
{
	return READ_ONCE(vm->slot[cpu]);
}

struct spare_vm_kern *spare_vm_alloc(struct cgroup_subsys_state *css);
void spare_vm_get(struct spare_vm_kern *vm);
void spare_vm_put(struct spare_vm_kern *vm);

void spare_vm_set_policy(struct spare_vm_kern *vm, const struct spare_policy *pol);
struct spare_policy spare_vm_policy(const struct spare_vm_kern *vm);
const char *spare_vm_path(const struct spare_vm_kern *vm, char *buf, size_t size);

void spare_lock_order(void);

#endif /* KMOD_VM_H */
