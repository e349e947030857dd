// SPDX-License-Identifier: GPL-2.0
/*
 * Configuration of a VM. Everything is checked and allocated before anything is changed (DESIGN section 3),
 * then applied in the order that keeps the class right at every instant: new servers first, then membership,
 * then use[] lists, and only then are servers withdrawn.
 */
#include <linux/cgroup.h>
#include <linux/cpu.h>
#include <linux/slab.h>
#include <linux/workqueue.h>
#include "admission.h"
#include "event.h"
#include "hook.h"
#include "kick.h"
#include "node.h"
#include "server.h"
#include "use.h"
#include "vm.h"

#define SWEEP_INTERVAL HZ

DEFINE_MUTEX(spare_config);	/* see vm.h */
LIST_HEAD(spare_vms);
LIST_HEAD(spare_providers);	/* of these, those with spare.provide 1, in that order */

static void sweep_work_fn(struct work_struct *work);
static DECLARE_DELAYED_WORK(sweep_work, sweep_work_fn);

static u64 pack(const struct spare_reservation *res)
{
	return ((u64)res->runtime_us << 32) | res->period_us;
}

/* The VM of a node, made at its first configuration. NULL: no memory. */
struct vm *spare_vm_of(struct spare_node *node)
{
	static const struct spare_policy policy = SPARE_POLICY_DEFAULT;
	struct vm *vm;
	unsigned int i;

	lockdep_assert_held(&spare_config);
	if (node->vm)
		return node->vm;
	vm = kzalloc(struct_size(vm, slot, nr_cpu_ids), GFP_KERNEL);
	if (!vm)
		return NULL;
	vm->css = spare_node_css(node);
	vm->abi.id = cgroup_id(vm->css->cgroup);
	vm->refs = 1;
	INIT_LIST_HEAD(&vm->providing);
	INIT_LIST_HEAD(&vm->uses);
	INIT_LIST_HEAD(&vm->taps);
	for (i = 0; i < nr_cpu_ids; i++)
		vm->slot[i] = SPARE_NO_SLOT;
	spare_vm_set_policy(vm, &policy);
	node->vm = vm;
	list_add_tail(&vm->all, &spare_vms);
	schedule_delayed_work(&sweep_work, SWEEP_INTERVAL);
	return vm;
}

void spare_vm_put(struct vm *vm)
{
	lockdep_assert_held(&spare_config);
	if (!--vm->refs)
		kfree_rcu(vm, rcu);
}

/* Path in the initial cgroup namespace, for messages. */
const char *spare_vm_path(const struct vm *vm, char *buf, size_t size)
{
	if (kernfs_path_from_node(vm->css->cgroup->kn, NULL, buf, size) < 0)
		return "?";
	return buf;
}

void spare_vm_set_policy(struct vm *vm, const struct spare_policy *pol)
{
	WRITE_ONCE(vm->abi.grant_ns, pol->grant_us * (u64)NSEC_PER_USEC);
	WRITE_ONCE(vm->abi.chances, pol->chances);
	WRITE_ONCE(vm->abi.window_ns, pol->window_us * (u64)NSEC_PER_USEC);
	WRITE_ONCE(vm->abi.gain_ns, pol->gain_us * (u64)NSEC_PER_USEC);
	WRITE_ONCE(vm->abi.flags, (pol->payback ? SPARE_VM_PAYBACK : 0) | (pol->wait ? 0 : SPARE_VM_NOWAIT) |
				  (pol->hasten ? SPARE_VM_HASTEN : 0));
}

struct spare_policy spare_vm_policy(const struct vm *vm)
{
	return (struct spare_policy) {
		.grant_us	= div_u64(vm->abi.grant_ns, NSEC_PER_USEC),
		.chances	= vm->abi.chances,
		.window_us	= div_u64(vm->abi.window_ns, NSEC_PER_USEC),
		.gain_us	= div_u64(vm->abi.gain_ns, NSEC_PER_USEC),
		.payback	= !!(vm->abi.flags & SPARE_VM_PAYBACK),
		.wait		= !(vm->abi.flags & SPARE_VM_NOWAIT),
		.hasten		= !!(vm->abi.flags & SPARE_VM_HASTEN),
	};
}

/* CPUs on which a VM so configured has a server. */
static const unsigned long *wanted_cpus(const struct vm_config *cfg)
{
	static const unsigned long none[BITS_TO_LONGS(SPARE_CPUS_MAX)];

	return cfg->res.period_us ? cfg->cpus : none;
}

/* Servers for the CPUs that @vm gains, on @fresh through srv->dying. */
static int alloc_servers(struct vm *vm, const struct vm_config *new, struct list_head *fresh)
{
	unsigned int cpu;

	for_each_set_bit(cpu, wanted_cpus(new), nr_cpu_ids) {
		struct server *srv;

		if (vm->slot[cpu] != SPARE_NO_SLOT)
			continue;
		srv = spare_server_alloc(vm, cpu, pack(&new->res));
		if (IS_ERR(srv)) {
			struct server *next;
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

static void publish(struct vm *vm, struct server *srv)
{
	unsigned int cpu = srv->abi.cpu;

	list_del_init(&srv->dying);
	spare_server_publish(srv);
	vm->nr_servers++;
	WRITE_ONCE(vm->slot[cpu], srv->abi.slot);
	set_bit(cpu, (unsigned long *)vm->abi.cpus);
}

static void reconfigure(struct server *srv, const struct vm_config *new)
{
	u64 cfg = pack(&new->res);
	u32 flags = new->provide ? SPARE_F_PROVIDER : 0;

	if (srv->abi.cfg == cfg && srv->abi.flags == flags)
		return;
	WRITE_ONCE(srv->abi.flags, flags);
	WRITE_ONCE(srv->abi.cfg, cfg);
	spare_server_attend(srv->abi.cpu, srv->abi.slot);
}

/* Cannot fail. @fresh holds a server for every CPU that is gained. */
static void apply(struct vm *vm, const struct vm_config *new, struct list_head *fresh)
{
	bool was_placed = spare_vm_placed(vm), moved = !list_empty(fresh), provider = vm->cfg.provide || new->provide;
	struct server *srv, *next;
	LIST_HEAD(lost);
	unsigned int cpu;

	vm->cfg = *new;
	if (!new->provide)
		list_del_init(&vm->providing);
	else if (list_empty(&vm->providing))
		list_add_tail(&vm->providing, &spare_providers);
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
		moved = true;
	}
	list_for_each_entry_safe(srv, next, fresh, dying)
		publish(vm, srv);
	if (was_placed != spare_vm_placed(vm))
		spare_node_refresh(vm->css);
	if (provider)
		spare_use_resolve_all();
	else
		spare_use_resolve(vm);
	cpus_read_lock();
	list_for_each_entry_safe(srv, next, &lost, dying) {
		list_del_init(&srv->dying);
		spare_server_withdraw(srv);
	}
	cpus_read_unlock();
	if (moved)
		spare_kick_online();
}

/*
 * Replace @vm's reservation, CPUs and role. -EBUSY: admission refuses, or a provider that somebody uses would
 * go; -ELOOP: it would come to borrow from itself; -EINVAL: none of its providers is on its CPUs.
 */
int spare_vm_configure(struct vm *vm, const struct vm_config *new)
{
	LIST_HEAD(fresh);
	unsigned int cpu;
	int err;

	lockdep_assert_held(&spare_config);
	if (spare_vm_is_provider(vm))
		spare_vm_sweep();	/* who is going uses it no more */
	else
		spare_vm_sweep_for(vm);
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
	if (err) {
		spare_vm_sweep();	/* so that slots come free */
		return err;
	}
	apply(vm, new, &fresh);
	return 0;
}

/* Its cgroup is being removed, or loses the io controller: it leaves admission now (DESIGN section 5). */
static void vm_remove(struct vm *vm)
{
	struct vm_config none = { };
	bool provided = spare_vm_is_provider(vm);
	LIST_HEAD(fresh);

	lockdep_assert_held(&spare_config);
	if (vm->removed)
		return;
	if (provided)
		spare_use_provider_lost(vm);
	vm->removed = true;
	spare_hook_unbind_all(vm);
	spare_use_clear(vm);
	apply(vm, &none, &fresh);
	spare_use_forget(vm->css);
	spare_event(vm, SPARE_EV_REMOVED);
}

/* Remove every VM whose cgroup is dying. */
void spare_vm_sweep(void)
{
	struct vm *vm;

	lockdep_assert_held(&spare_config);
	list_for_each_entry(vm, &spare_vms, all)
		if (!vm->removed && css_is_dying(vm->css))
			vm_remove(vm);
	spare_use_drop_dying();
}

/*
 * Remove what a change of @vm depends on, if its cgroup is dying: the VM itself and the providers. Admission leaves the others out
 * by itself; to look at everybody at each write would make the making of n VMs cost n squared.
 */
void spare_vm_sweep_for(struct vm *vm)
{
	struct vm *pos, *next;

	lockdep_assert_held(&spare_config);
	list_for_each_entry_safe(pos, next, &spare_providers, providing)
		if (css_is_dying(pos->css))
			vm_remove(pos);
	if (css_is_dying(vm->css))
		vm_remove(vm);
}

static void sweep_work_fn(struct work_struct *work)
{
	guard(mutex)(&spare_config);
	spare_vm_sweep();
	if (!list_empty(&spare_vms))
		schedule_delayed_work(&sweep_work, SWEEP_INTERVAL);
}

/* The node is about to be freed. Its css may already have lost its descendants, never its cgroup. */
void spare_vm_node_gone(struct spare_node *node)
{
	struct vm *vm;

	/* Unlocked: nobody can write to the files of a css that is being freed. */
	if (!READ_ONCE(node->vm))
		return;
	guard(mutex)(&spare_config);
	vm = node->vm;
	vm_remove(vm);
	list_del(&vm->all);
	vm->css = NULL;
	node->vm = NULL;
	spare_vm_put(vm);
}

void spare_vm_exit(void)
{
	cancel_delayed_work_sync(&sweep_work);
}
