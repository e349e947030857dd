/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A VM: a cgroup to whose spare.* files somebody has written, with its configuration, servers, providers and
 * taps.
 */
#ifndef KMOD_VM_H
#define KMOD_VM_H

#include <linux/bitmap.h>
#include <linux/cpumask.h>
#include <linux/list.h>
#include <linux/mutex.h>
#include <sched_spare/abi.h>
#include <sched_spare/parse.h>

struct spare_node;
struct cgroup_subsys_state;

/* Serializes all configuration. Nests inside cgroup_mutex and RTNL: never take those under it. */
extern struct mutex spare_config;

struct vm_config {
	struct spare_reservation res;
	bool provide;
	bool cpus_auto;			/* cpus were written with "auto" */
	unsigned long cpus[BITS_TO_LONGS(SPARE_CPUS_MAX)];
};

struct vm {
	struct spare_vm abi;		/* first: what the class sees */
	struct cgroup_subsys_state *css;/* valid until spare_vm_node_gone() */
	bool removed;			/* css is dying: no files, no servers */
	struct list_head all;		/* spare_vms, in order of first write */
	struct list_head providing;	/* spare_providers, while cfg.provide; else empty */
	struct vm_config cfg;
	struct list_head uses;		/* struct use (use.h) */
	bool use_manual;		/* that list was written, or emptied, by an operator: without "auto" */
	struct list_head taps;		/* struct tap (hook.h) */
	unsigned int nr_servers;	/* published and not dying */
	unsigned int refs;		/* node, servers (dying ones too), taps; under spare_config */
	struct spare_stats past;	/* of servers that are gone */
	atomic_t notify;		/* spare.events is to be notified */
	bool visited;			/* cycle search */
	struct rcu_head rcu;
	u16 slot[];			/* [nr_cpu_ids] of its server there, or SPARE_NO_SLOT */
};

extern struct list_head spare_vms, spare_providers;

static inline bool spare_vm_placed(const struct vm *vm)
{
	return vm->nr_servers;
}

static inline bool spare_vm_is_provider(const struct vm *vm)
{
	return vm->cfg.provide && vm->cfg.res.period_us && !vm->removed;
}

/* Under spare_config, or RCU as the class does. */
static inline u16 spare_vm_slot_on(const struct vm *vm, unsigned int cpu)
{
	return READ_ONCE(vm->slot[cpu]);
}

struct vm *spare_vm_of(struct spare_node *node);
int __must_check spare_vm_configure(struct vm *vm, const struct vm_config *new);
void spare_vm_set_policy(struct vm *vm, const struct spare_policy *pol);
struct spare_policy spare_vm_policy(const struct vm *vm);
const char *spare_vm_path(const struct vm *vm, char *buf, size_t size);

void spare_vm_put(struct vm *vm);
void spare_vm_sweep(void);
void spare_vm_sweep_for(struct vm *vm);
void spare_vm_node_gone(struct spare_node *node);

void spare_vm_exit(void);

#endif /* KMOD_VM_H */
