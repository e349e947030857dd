// SPDX-License-Identifier: GPL-2.0
/*
 * Configuration of a VM. Everything is checked and allocated before anything is changed (DESIGN section 3),
 * then applied in the order that keeps the class right at every instant: new servers first, then membership,
 * then use[] lists, and only then are servers withdrawn.
 */
#include <linux/cgroup.h>
#include <linux/slab.h>
#include <linux/workqueue.h>
#include "admission.h"
#include "config.h"
#include "event.h"
#include "kick.h"
#include "node.h"
#include "server.h"
#include "stock.h"
#include "tap.h"
#include "use.h"
#include "vm.h"

#define SWEEP_INTERVAL HZ

static void sweep_work_fn(struct work_struct *work);
static DECLARE_DELAYED_WORK(sweep_work, sweep_work_fn);
static bool stopping;	/* under spare_config */

static void sweep_later(void)
{
	lockdep_assert_held(&spare_config);
	if (!stopping)
		schedule_delayed_work(&sweep_work, SWEEP_INTERVAL);
}

static u64 pack(const struct spare_reservation *res)
{
	return ((u64)res->runtime_us << 32) | res->period_us;
}

/* CPUs on which a VM so configured has a server. */
static const unsigned long *wanted_cpus(const struct spare_vm_config *cfg)
{
	static const unsigned long none[BITS_TO_LONGS(SPARE_CPUS_MAX)];

	return cfg->res.period_us ? cfg->cpus : none;
}

/* Servers for the CPUs that @vm gains, on @fresh through srv->dying. */
static int alloc_servers(struct spare_vm_kern *vm, const struct spare_vm_config *new, struct list_head *fresh)
{
	unsigned int cpu, gained = 0;

	for_each_set_bit(cpu, wanted_cpus(new), nr_cpu_ids)
		gained += vm->slot[cpu] == SPARE_NO_SLOT;
	if (gained && !spare_stock_suffices(spare_server_live() + gained))
		return -ENOBUFS;
	for_each_set_bit(cpu, wanted_cpus(new), nr_cpu_ids) {
		struct spare_server_kern *srv;

		if (vm->slot[cpu] != SPARE_NO_SLOT)
			continue;
		srv = spare_server_alloc(vm, cpu, pack(&new->res));
		if (IS_ERR(srv)) {
			struct spare_server_kern *next;
			int err = PTR_ERR(srv);

			list_for_each_entry_safe(srv, next, fresh, dying)
				spare_server_discard(srv);
			return err;
		}
		if (new->provide)
			srv->abi.flags = SPARE_F_PROVIDER;
		list_add_tail(&srv->dying, fresh);
	}
	return 0;
}

static void publish(struct spare_vm_kern *vm, struct spare_server_kern *srv)
{
	list_del_init(&srv->dying);
	spare_server_publish(srv);
	vm->nr_servers++;
	WRITE_ONCE(vm->slot[srv->cpu], srv->slot);
	set_bit(srv->cpu, (unsigned long *)vm->abi.cpus);
}

static void reconfigure(struct spare_server_kern *srv, const struct spare_vm_config *new)
{
	u64 cfg = pack(&new->res);
	u32 flags = new->provide ? SPARE_F_PROVIDER : 0;

	if (srv->abi.cfg == cfg && srv->abi.flags == flags)
		return;
	WRITE_ONCE(srv->abi.flags, flags);
	WRITE_ONCE(srv->abi.cfg, cfg);
	spare_server_attend(srv->cpu, srv->slot);
}

/* Cannot fail. @fresh holds a server for every CPU that is gained. */
static void apply(struct spare_vm_kern *vm, const struct spare_vm_config *new, struct list_head *fresh)
{
	bool was_placed = spare_vm_placed(vm), moved = !list_empty(fresh), provider = vm->cfg.provide || new->provide;
	struct spare_server_kern *srv, *next, *from;
	LIST_HEAD(lost);
	unsigned int cpu;

	if (!new->provide)
		list_del_init(&vm->providing);
	else if (list_empty(&vm->providing))
		list_add_tail(&vm->providing, &spare_providers);
	spin_lock(&vm->lock);
	vm->cfg = *new;
	for (cpu = 0; cpu < nr_cpu_ids; cpu++) {
		srv = spare_server_at(cpu, vm->slot[cpu]);
		if (!srv)
			continue;
		if (test_bit(cpu, wanted_cpus(new))) {
			reconfigure(srv, new);
			continue;
		}
		clear_bit(cpu, (unsigned long *)vm->abi.cpus);
		WRITE_ONCE(vm->slot[cpu], SPARE_NO_SLOT);
		vm->nr_servers--;
		list_add_tail(&srv->dying, &lost);
		list_add_tail(&srv->gone, &vm->gone);
		moved = true;
	}
	from = list_first_entry(&lost, struct spare_server_kern, dying);
	list_for_each_entry(srv, fresh, dying) {
		if (list_entry_is_head(from, &lost, dying))
			break;
		spare_server_inherit(&srv->abi, &from->abi);
		from = list_next_entry(from, dying);
	}
	list_for_each_entry_safe(srv, next, fresh, dying)
		publish(vm, srv);
	spin_unlock(&vm->lock);
	if (was_placed != spare_vm_placed(vm))
		spare_node_refresh(vm->css);
	if (provider)
		spare_use_resolve_all();
	else
		spare_use_resolve(vm);
	list_for_each_entry_safe(srv, next, &lost, dying) {
		list_del_init(&srv->dying);
		spare_server_withdraw(srv);
	}
	if (moved)
		spare_kick_online();
}

/**
 * spare_config_vm - the VM of a cgroup, and the sweep for when that goes
 * @node: of the cgroup, one of whose files is open for writing
 *
 * Context: process, under spare_config.
 * Return: as spare_node_vm_make().
 */
struct spare_vm_kern *spare_config_vm(struct spare_node *node)
{
	sweep_later();
	return spare_node_vm_make(node);
}

/**
 * spare_config_set - replace a VM's reservation, CPUs and role
 * @vm: one whose file is being written to
 * @new: the whole of its configuration
 *
 * Context: process, under spare_config.
 * Return: 0; -EBUSY: admission refuses, or a provider that somebody uses would go; -EAGAIN: a slot of a server that has gone is not free
 * yet (spare_server_settle()); -ENOBUFS: the class has no queue for one yet (spare_stock_make()); -ELOOP: it would come to borrow from itself; -EINVAL: none of its providers is on its CPUs; -ENOMEM.
 * Nothing has changed then.
 */
int spare_config_set(struct spare_vm_kern *vm, const struct spare_vm_config *new)
{
	LIST_HEAD(fresh);
	unsigned int cpu;
	int err;

	lockdep_assert_held(&spare_config);
	if (spare_vm_is_provider(vm))
		spare_config_sweep();	/* who is going uses it no more */
	else
		spare_config_sweep_for(vm);
	if (vm->removed)
		return -ENODEV;

	if (spare_vm_is_provider(vm)) {
		if ((!new->provide || !new->res.period_us) && spare_use_has_user(vm, -1))
			return -EBUSY;
		for_each_andnot_bit(cpu, wanted_cpus(&vm->cfg), wanted_cpus(new), nr_cpu_ids)
			if (spare_use_has_user(vm, cpu))
				return -EBUSY;
	}
	if (new->provide && !vm->cfg.provide && spare_use_would_loop(vm, &vm->uses, true))
		return -ELOOP;
	if (!bitmap_equal(wanted_cpus(new), wanted_cpus(&vm->cfg), nr_cpu_ids) &&
	    !spare_use_covers(&vm->uses, wanted_cpus(new)))
		return -EINVAL;
	err = spare_admission_check(vm, wanted_cpus(new), &new->res);
	if (err)
		return err;
	err = alloc_servers(vm, new, &fresh);
	if (err)
		return err;
	apply(vm, new, &fresh);
	return 0;
}

/**
 * spare_config_remove - take a VM out of everything (DESIGN section 5)
 * @vm: its cgroup is being removed, or loses the io controller, or the module is unloaded
 *
 * Context: process, under spare_config.
 */
void spare_config_remove(struct spare_vm_kern *vm)
{
	struct spare_vm_config none = { };
	LIST_HEAD(fresh);

	lockdep_assert_held(&spare_config);
	if (vm->removed)
		return;
	if (spare_vm_is_provider(vm))
		spare_use_provider_lost(vm);
	WRITE_ONCE(vm->removed, true);	/* before its taps go: spare_tap_set() looks after them */
	spare_tap_unbind_all(vm);
	spare_use_clear(vm);
	apply(vm, &none, &fresh);
	spare_use_forget(vm->css);
	list_del_init(&vm->all);
	css_put(vm->css);
}

/**
 * spare_config_sweep - remove every VM whose cgroup is dying
 *
 * Context: process, under spare_config.
 */
void spare_config_sweep(void)
{
	struct spare_vm_kern *vm, *next;

	lockdep_assert_held(&spare_config);
	list_for_each_entry_safe(vm, next, &spare_vms, all)
		if (css_is_dying(vm->css))
			spare_config_remove(vm);
	spare_use_drop_dying();
}

/**
 * spare_config_sweep_for - remove what a change depends on, if its cgroup is dying: the VM itself and the providers
 * @vm: what is to be changed
 *
 * Admission leaves the others out by itself; to look at everybody at each write would make the making of n VMs cost n squared.
 *
 * Context: process, under spare_config.
 */
void spare_config_sweep_for(struct spare_vm_kern *vm)
{
	struct spare_vm_kern *pos, *next;

	lockdep_assert_held(&spare_config);
	list_for_each_entry_safe(pos, next, &spare_providers, providing)
		if (css_is_dying(pos->css))
			spare_config_remove(pos);
	if (!vm->removed && css_is_dying(vm->css))
		spare_config_remove(vm);
}

static void sweep_work_fn(struct work_struct *work)
{
	guard(mutex)(&spare_config);
	spare_config_sweep();
	spare_server_reap();
	if (!list_empty(&spare_vms) || spare_server_reaping())
		sweep_later();
}

/**
 * spare_config_stop - no sweep runs any more, or will: nodes can be freed without us
 *
 * Context: process, at unload; no locks.
 */
void spare_config_stop(void)
{
	scoped_guard(mutex, &spare_config)
		stopping = true;
	cancel_delayed_work_sync(&sweep_work);
}
