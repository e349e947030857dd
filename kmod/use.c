// SPDX-License-Identifier: GPL-2.0
/*
 * spare.use: names of providers, kept as references to their cgroups and expanded into the servers' use[]
 * slots whenever anything that they depend on changes. A name that is not itself a provider stands for all
 * providers among its children, those that come later included.
 *
 * Everything here is under spare_config.
 */
#include <linux/cgroup.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include "event.h"
#include "node.h"
#include "server.h"
#include "use.h"
#include "vm.h"

static struct vm *vm_at(struct cgroup_subsys_state *css)
{
	struct spare_node *node = spare_css_node(css);

	return node ? node->vm : NULL;
}

/* Does @u name @provider, itself or as a member of a pool? */
static bool names(const struct use *u, struct vm *provider)
{
	struct vm *direct = vm_at(u->css);

	if (u->css == provider->css)
		return true;
	return u->css == provider->css->parent && !(direct && direct->cfg.provide);
}

static bool any_names(struct list_head *uses, struct vm *provider)
{
	struct use *u;

	list_for_each_entry(u, uses, list)
		if (names(u, provider))
			return true;
	return false;
}

/* Does a VM that has a server on @cpu (-1: any VM) use @provider? */
bool spare_use_has_user(struct vm *provider, int cpu)
{
	struct vm *vm;

	list_for_each_entry(vm, &spare_vms, all)
		if (!vm->removed && vm != provider && (cpu < 0 || vm->slot[cpu] != SPARE_NO_SLOT) &&
		    any_names(&vm->uses, provider))
			return true;
	return false;
}

static bool mark_one(struct list_head *uses, struct vm *vm)
{
	if (vm->removed || vm->visited || !any_names(uses, vm))
		return false;
	vm->visited = true;
	return true;
}

/* Mark the providers that @uses name, @self as if it were one; true when something new was marked. */
static bool mark(struct list_head *uses, struct vm *self)
{
	struct vm *vm;
	bool grown = self && mark_one(uses, self);

	list_for_each_entry(vm, &spare_providers, providing)
		if (mark_one(uses, vm))
			grown = true;
	return grown;
}

/*
 * Would @vm, with @uses as its list and spare.provide @provides, reach itself? A provider without a reservation
 * counts: it may get one. A VM that provides nothing may use a pool in whose directory it is.
 */
bool spare_use_would_loop(struct vm *vm, struct list_head *uses, bool provides)
{
	struct vm *self = provides ? vm : NULL, *pos;
	struct use *u;
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

/*
 * May a VM on @cpus have this list? Not when its providers are all elsewhere; a pool that is empty now covers
 * nothing yet.
 */
bool spare_use_covers(struct list_head *uses, const unsigned long *cpus)
{
	bool some = false;
	struct vm *vm;

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
static unsigned int expand(const struct use *u, unsigned int cpu, u16 *use, unsigned int n)
{
	struct vm *vm;
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

static void resolve(struct vm *vm, unsigned int cpu)
{
	struct server *srv = spare_server_at(cpu, vm->slot[cpu]);
	u16 use[SPARE_USE_MAX];
	unsigned int i, n = 0;
	bool changed = false;
	struct use *u;

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
		spare_server_attend(cpu, srv->abi.slot);
}

/* Bring use[] of @vm's servers up to date. */
void spare_use_resolve(struct vm *vm)
{
	unsigned int cpu;

	lockdep_assert_held(&spare_config);
	for_each_set_bit(cpu, (const unsigned long *)vm->abi.cpus, nr_cpu_ids)
		resolve(vm, cpu);
}

/* A provider has come or gone: everybody's. */
void spare_use_resolve_all(void)
{
	struct vm *vm;

	list_for_each_entry(vm, &spare_vms, all)
		spare_use_resolve(vm);
}

static void free_uses(struct list_head *uses)
{
	struct use *u, *next;

	list_for_each_entry_safe(u, next, uses, list) {
		list_del(&u->list);
		css_put(u->css);
		kfree(u);
	}
}

void spare_use_clear(struct vm *vm)
{
	free_uses(&vm->uses);
}

/* @provider goes; tell those who use it. */
void spare_use_provider_lost(struct vm *provider)
{
	struct vm *vm;

	lockdep_assert_held(&spare_config);
	list_for_each_entry(vm, &spare_vms, all)
		if (!vm->removed && vm != provider && any_names(&vm->uses, provider))
			spare_event(vm, SPARE_EV_PROVIDER_LOST);
}

/* Being removed, and not as a VM that the sweep has yet to remove: that tells its users first. */
static bool is_gone(struct cgroup_subsys_state *css)
{
	struct vm *vm = vm_at(css);

	return css_is_dying(css) && !(vm && !vm->removed);
}

static void drop_names(struct vm *vm, struct cgroup_subsys_state *css)
{
	struct use *u, *next;

	list_for_each_entry_safe(u, next, &vm->uses, list) {
		if (css ? u->css != css : !is_gone(u->css))
			continue;
		list_del(&u->list);
		css_put(u->css);
		kfree(u);
	}
}

/* @css goes: no list names it any more. */
void spare_use_forget(struct cgroup_subsys_state *css)
{
	struct vm *vm;

	lockdep_assert_held(&spare_config);
	list_for_each_entry(vm, &spare_vms, all)
		drop_names(vm, css);
}

/* Pools that have been removed. Their providers went before them. */
void spare_use_drop_dying(void)
{
	struct vm *vm;

	lockdep_assert_held(&spare_config);
	list_for_each_entry(vm, &spare_vms, all)
		drop_names(vm, NULL);
}

/* The cgroup at @path in the writer's cgroup namespace, as an entry of a list. */
static struct use *use_of_path(const char *path)
{
	struct cgroup_subsys_state *css;
	struct cgroup *cgrp;
	struct use *u;

	if (path[0] != '/')
		return ERR_PTR(-EINVAL);
	cgrp = cgroup_get_from_path(path);
	if (IS_ERR(cgrp))
		return ERR_CAST(cgrp);
	css = cgroup_get_e_css(cgrp, &io_cgrp_subsys);
	if (css->cgroup != cgrp) {
		css_put(css);
		cgroup_put(cgrp);
		return ERR_PTR(-EOPNOTSUPP);
	}
	cgroup_put(cgrp);
	u = kzalloc(sizeof(*u), GFP_KERNEL);
	if (!u) {
		css_put(css);
		return ERR_PTR(-ENOMEM);
	}
	u->css = css;
	return u;
}

/* Is there a provider behind this name? */
static bool names_a_provider(const struct use *u)
{
	struct vm *vm;

	list_for_each_entry(vm, &spare_providers, providing)
		if (spare_vm_is_provider(vm) && names(u, vm))
			return true;
	return false;
}

static int parse(char *text, struct list_head *uses)
{
	struct use *u, *pos;
	char *word;

	while ((word = strsep(&text, " \t"))) {
		if (!*word)
			continue;
		u = use_of_path(word);
		if (IS_ERR(u))
			return PTR_ERR(u);
		list_for_each_entry(pos, uses, list) {
			if (pos->css != u->css)
				continue;
			css_put(u->css);
			kfree(u);
			return -EINVAL;
		}
		list_add_tail(&u->list, uses);
	}
	return list_empty(uses) ? -EINVAL : 0;
}

/*
 * Replace @vm's list. @text is one line without its newline; "default": none, and a program may write it again. -EEXIST: a program asks,
 * and the list is an operator's.
 */
int spare_use_set(struct vm *vm, char *text, bool by_program)
{
	LIST_HEAD(uses);
	LIST_HEAD(old);
	bool handed_back;
	struct use *u;
	int err = 0;

	lockdep_assert_held(&spare_config);
	spare_vm_sweep_for(vm);
	if (vm->removed)
		return -ENODEV;
	if (by_program && vm->use_manual)
		return -EEXIST;
	text = strim(text);
	handed_back = !by_program && !strcmp(text, "default");
	if (!handed_back && strcmp(text, "none"))
		err = parse(text, &uses);
	if (!err && spare_use_would_loop(vm, &uses, vm->cfg.provide))
		err = -ELOOP;
	if (!err)
		list_for_each_entry(u, &uses, list)
			if (!names_a_provider(u))
				err = -EINVAL;
	if (!err && !spare_use_covers(&uses, vm->cfg.cpus))
		err = -EINVAL;
	if (!err) {
		list_splice_init(&vm->uses, &old);
		list_splice_init(&uses, &vm->uses);
		vm->use_manual = !by_program && !handed_back;
		spare_use_resolve(vm);
	}
	free_uses(&uses);
	free_uses(&old);
	return err;
}

void spare_use_show(struct vm *vm, struct seq_file *m)
{
	struct cgroup_namespace *ns = current->nsproxy->cgroup_ns;
	char *path = kmalloc(PATH_MAX, GFP_KERNEL);
	const char *sep = "";
	struct use *u;

	if (!vm || list_empty(&vm->uses) || !path) {
		seq_puts(m, "none\n");
		kfree(path);
		return;
	}
	list_for_each_entry(u, &vm->uses, list) {
		if (cgroup_path_ns(u->css->cgroup, path, PATH_MAX, ns) < 0)
			continue;
		seq_printf(m, "%s%s", sep, path);
		sep = " ";
	}
	seq_putc(m, '\n');
	kfree(path);
}
