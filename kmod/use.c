// SPDX-License-Identifier: GPL-2.0
/*
 * spare.use: names of providers, kept as references to their cgroups and expanded into the servers' use[]
 * slots whenever anything that they depend on changes. A name that is not itself a provider stands for all
 * providers among its children, those that come later included.
 *
 * Everything here is under spare_config.
 */
#include <linux/cgroup.h>
#include <linux/slab.h>
#include "event.h"
#include "node.h"
#include "server.h"
#include "use.h"
#include "vm.h"

static struct spare_vm_kern *vm_at(struct cgroup_subsys_state *css)
{
	struct spare_node *node = spare_css_node(css);

	return node ? node->vm : NULL;
}

/* Does @u name @provider, itself or as a member of a pool? */
static bool names(const struct spare_use *u, struct spare_vm_kern *provider)
{
	struct spare_vm_kern *direct = vm_at(u->css);

	if (u->css == provider->css)
		return true;
	return u->css == provider->css->parent && !(direct && direct->cfg.provide);
}

static bool any_names(struct list_head *uses, struct spare_vm_kern *provider)
{
	struct spare_use *u;

	list_for_each_entry(u, uses, list)
		if (names(u, provider))
			return true;
	return false;
}

/**
 * spare_use_has_user - does anybody use a provider?
 * @provider: which
 * @cpu: only VMs that have a server there; -1: any VM
 *
 * Context: process, under spare_config.
 * Return: true: somebody does.
 */
bool spare_use_has_user(struct spare_vm_kern *provider, int cpu)
{
	struct spare_vm_kern *vm;

	list_for_each_entry(vm, &spare_vms, all)
		if (!vm->removed && vm != provider && (cpu < 0 || vm->slot[cpu] != SPARE_NO_SLOT) &&
		    any_names(&vm->uses, provider))
			return true;
	return false;
}

static bool mark_one(struct list_head *uses, struct spare_vm_kern *vm)
{
	if (vm->removed || vm->visited || !any_names(uses, vm))
		return false;
	vm->visited = true;
	return true;
}

/* Mark the providers that @uses name, @self as if it were one; true when something new was marked. */
static bool mark(struct list_head *uses, struct spare_vm_kern *self)
{
	struct spare_vm_kern *vm;
	bool grown = self && mark_one(uses, self);

	list_for_each_entry(vm, &spare_providers, providing)
		if (mark_one(uses, vm))
			grown = true;
	return grown;
}

/**
 * spare_use_would_loop - would a VM reach itself?
 * @vm: which
 * @uses: as its list
 * @provides: as its spare.provide
 *
 * A provider without a reservation counts: it may get one. A VM that provides nothing may use a pool in whose directory it is.
 *
 * Context: process, under spare_config.
 * Return: true: it would.
 */
bool spare_use_would_loop(struct spare_vm_kern *vm, struct list_head *uses, bool provides)
{
	struct spare_vm_kern *self = provides ? vm : NULL, *pos;
	struct spare_use *u;
	bool grown;

	list_for_each_entry(u, uses, list)
		if (u->css == vm->css)
			return true;
	vm->visited = false;
	list_for_each_entry(pos, &spare_providers, providing)
		pos->visited = false;
	grown = mark(uses, self);
	while (grown && !vm->visited) {
		grown = false;
		list_for_each_entry(pos, &spare_providers, providing)
			if (pos->visited && mark(&pos->uses, self))
				grown = true;
	}
	return vm->visited;
}

/**
 * spare_use_covers - may a VM on these CPUs have this list?
 * @uses: the list
 * @cpus: bitmap of nr_cpu_ids bits
 *
 * Context: process, under spare_config.
 * Return: false: its providers are all elsewhere. (A pool that is empty now covers nothing yet.).
 */
bool spare_use_covers(struct list_head *uses, const unsigned long *cpus)
{
	bool some = false;
	struct spare_vm_kern *vm;

	if (list_empty(uses) || bitmap_empty(cpus, nr_cpu_ids))
		return true;
	list_for_each_entry(vm, &spare_providers, providing) {
		if (!spare_vm_is_provider(vm) || !any_names(uses, vm))
			continue;
		some = true;
		if (bitmap_intersects(vm->cfg.cpus, cpus, nr_cpu_ids))
			return true;
	}
	return !some;
}

/* Append the slots on @cpu of what @u names to use[n ..]. */
static unsigned int expand(const struct spare_use *u, unsigned int cpu, u16 *use, unsigned int n)
{
	struct spare_vm_kern *vm;
	unsigned int i;

	list_for_each_entry(vm, &spare_providers, providing) {
		u16 slot = vm->slot[cpu];

		if (slot == SPARE_NO_SLOT || !spare_vm_is_provider(vm) || !names(u, vm))
			continue;
		for (i = 0; i < n; i++)
			if (use[i] == slot)
				break;
		if (i == n && n < SPARE_USE_MAX)
			use[n++] = slot;
	}
	return n;
}

static void resolve(struct spare_vm_kern *vm, unsigned int cpu)
{
	struct spare_server_kern *srv = spare_server_at(cpu, vm->slot[cpu]);
	u16 use[SPARE_USE_MAX];
	unsigned int i, n = 0;
	bool changed = false;
	struct spare_use *u;

	if (!srv)
		return;
	list_for_each_entry(u, &vm->uses, list)
		n = expand(u, cpu, use, n);
	while (n < SPARE_USE_MAX)
		use[n++] = SPARE_NO_SLOT;
	for (i = 0; i < SPARE_USE_MAX; i++) {
		if (srv->abi.use[i] == use[i])
			continue;
		WRITE_ONCE(srv->abi.use[i], use[i]);
		changed = true;
	}
	if (changed)
		spare_server_attend(cpu, srv->slot);
}

/**
 * spare_use_resolve - bring use[] of a VM's servers up to date
 * @vm: whose
 *
 * Context: process, under spare_config.
 */
void spare_use_resolve(struct spare_vm_kern *vm)
{
	unsigned int cpu;

	lockdep_assert_held(&spare_config);
	for_each_set_bit(cpu, (const unsigned long *)vm->abi.cpus, nr_cpu_ids)
		resolve(vm, cpu);
}

/**
 * spare_use_resolve_all - everybody's: a provider has come or gone
 *
 * Context: process, under spare_config.
 */
void spare_use_resolve_all(void)
{
	struct spare_vm_kern *vm;

	list_for_each_entry(vm, &spare_vms, all)
		spare_use_resolve(vm);
}

/**
 * spare_use_free - free a list
 * @uses: struct spare_use, on no VM
 *
 * Context: any, no lock needed.
 */
void spare_use_free(struct list_head *uses)
{
	struct spare_use *u, *next;

	list_for_each_entry_safe(u, next, uses, list) {
		list_del(&u->list);
		css_put(u->css);
		kfree(u);
	}
}

/* Exchange @vm's list and @uses; @manual: an operator's. */
static void exchange(struct spare_vm_kern *vm, struct list_head *uses, bool manual)
{
	LIST_HEAD(old);

	lockdep_assert_held(&spare_config);
	guard(spinlock)(&vm->lock);
	list_splice_init(&vm->uses, &old);
	list_splice_init(uses, &vm->uses);
	list_splice_init(&old, uses);
	vm->nr_uses = list_count_nodes(&vm->uses);
	vm->use_manual = manual;
}

/**
 * spare_use_clear - a VM uses nothing any more
 * @vm: it is being removed
 *
 * Context: process, under spare_config.
 */
void spare_use_clear(struct spare_vm_kern *vm)
{
	LIST_HEAD(uses);

	exchange(vm, &uses, false);
	spare_use_free(&uses);
}

/**
 * spare_use_provider_lost - tell those who use a provider
 * @provider: it goes
 *
 * Context: process, under spare_config.
 */
void spare_use_provider_lost(struct spare_vm_kern *provider)
{
	struct spare_vm_kern *vm;

	lockdep_assert_held(&spare_config);
	list_for_each_entry(vm, &spare_vms, all)
		if (!vm->removed && vm != provider && any_names(&vm->uses, provider))
			spare_event(vm, SPARE_EV_PROVIDER_LOST);
}

/* Being removed, and not as a VM that the sweep has yet to remove: that tells its users first. */
static bool is_gone(struct cgroup_subsys_state *css)
{
	struct spare_vm_kern *vm = vm_at(css);

	return css_is_dying(css) && !(vm && !vm->removed);
}

static void drop_names(struct spare_vm_kern *vm, struct cgroup_subsys_state *css)
{
	struct spare_use *u, *next;
	LIST_HEAD(gone);

	list_for_each_entry_safe(u, next, &vm->uses, list) {
		if (css ? u->css != css : !is_gone(u->css))
			continue;
		guard(spinlock)(&vm->lock);
		list_move(&u->list, &gone);
		vm->nr_uses--;
	}
	spare_use_free(&gone);
}

/**
 * spare_use_forget - no list names a cgroup any more
 * @css: it goes
 *
 * Context: process, under spare_config.
 */
void spare_use_forget(struct cgroup_subsys_state *css)
{
	struct spare_vm_kern *vm;

	lockdep_assert_held(&spare_config);
	list_for_each_entry(vm, &spare_vms, all)
		drop_names(vm, css);
}

/**
 * spare_use_drop_dying - nor pools that have been removed; their providers went before them
 *
 * Context: process, under spare_config.
 */
void spare_use_drop_dying(void)
{
	struct spare_vm_kern *vm;

	lockdep_assert_held(&spare_config);
	list_for_each_entry(vm, &spare_vms, all)
		drop_names(vm, NULL);
}

/* Is there a provider behind this name? */
static bool names_a_provider(const struct spare_use *u)
{
	struct spare_vm_kern *vm;

	list_for_each_entry(vm, &spare_providers, providing)
		if (spare_vm_is_provider(vm) && names(u, vm))
			return true;
	return false;
}

/**
 * spare_use_set - replace a VM's list
 * @vm: one whose file is being written to
 * @uses: the new list; out, after success: the old one
 * @who: who asks
 *
 * Context: process, under spare_config, after spare_config_sweep_for().
 * Return: 0; -EEXIST: a program asks, and the list is an operator's; -EINVAL: a name without a provider behind it, or none of them on
 * its CPUs; -ELOOP; -ENODEV: the cgroup is being removed.
 */
int spare_use_set(struct spare_vm_kern *vm, struct list_head *uses, enum spare_use_who who)
{
	struct spare_use *u;

	lockdep_assert_held(&spare_config);
	if (vm->removed)
		return -ENODEV;
	if (who == SPARE_USE_PROGRAM && vm->use_manual)
		return -EEXIST;
	if (spare_use_would_loop(vm, uses, vm->cfg.provide))
		return -ELOOP;
	list_for_each_entry(u, uses, list)
		if (!names_a_provider(u))
			return -EINVAL;
	if (!spare_use_covers(uses, vm->cfg.cpus))
		return -EINVAL;
	exchange(vm, uses, who == SPARE_USE_OPERATOR);
	spare_use_resolve(vm);
	return 0;
}
