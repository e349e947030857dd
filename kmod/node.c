// SPDX-License-Identifier: GPL-2.0
/*
 * Nodes, and which VM a task belongs to (CBS-10): the nearest ancestor-or-self of the task's io css that has
 * servers.
 *
 * The answer is cached in every node because the class asks for it at every wake-up. A change walks the
 * descendants in pre-order. A new cgroup's node starts UNRESOLVED (the io controller allocates it before it
 * has a parent) and is filled in by the first question, with a cmpxchg that loses against a concurrent walk.
 */
#include <linux/sched.h>
#include <linux/slab.h>
#include "node.h"
#include "vm.h"

#define UNRESOLVED ((struct spare_vm_kern *)ERR_PTR(-EAGAIN))

static struct blkcg_policy policy;
static void (*remove_vm)(struct spare_vm_kern *vm);

/**
 * spare_css_node - what we keep of a cgroup
 * @css: of the io controller
 *
 * Context: any; @css is held, by a reference, an open file or RCU.
 * Return: its node; NULL: only while the module unloads.
 */
struct spare_node *spare_css_node(struct cgroup_subsys_state *css)
{
	return container_of(spare_css_to_cpd(css, policy.plid), struct spare_node, pd);
}

/**
 * spare_node_vm_make - the VM of a cgroup, made at its first configuration
 * @node: of the cgroup, one of whose files is open for writing
 *
 * Context: process, under spare_config.
 * Return: the VM, which lives as long as @node; NULL: no memory.
 */
struct spare_vm_kern *spare_node_vm_make(struct spare_node *node)
{
	struct spare_vm_kern *vm;

	lockdep_assert_held(&spare_config);
	if (node->vm)
		return node->vm;
	vm = spare_vm_alloc(spare_node_css(node));
	if (vm)
		smp_store_release(&node->vm, vm);	/* pairs with spare_node_vm() */
	return vm;
}

/* Under RCU. */
static struct spare_vm_kern *css_effective(struct cgroup_subsys_state *css)
{
	struct spare_node *first = spare_css_node(css), *node = first;
	struct spare_vm_kern *vm = node ? rcu_dereference(node->effective) : NULL;

	if (likely(vm != UNRESOLVED))
		return vm;
	while (vm == UNRESOLVED) {
		css = css->parent;
		node = css ? spare_css_node(css) : NULL;
		vm = node ? rcu_dereference(node->effective) : NULL;
	}
	cmpxchg((struct spare_vm_kern __force **)&first->effective, UNRESOLVED, vm);
	return vm;
}

/**
 * spare_task_effective - the VM that a task belongs to (CBS-10)
 * @p: the task
 *
 * Context: any, under RCU.
 * Return: its VM, held by RCU; NULL: none.
 */
struct spare_vm_kern *spare_task_effective(struct task_struct *p)
{
	struct css_set *cset = rcu_dereference_raw(p->cgroups);

	return css_effective(cset->subsys[io_cgrp_id]);
}

/**
 * spare_node_refresh - a VM has got its first or lost its last server: who belongs to it?
 * @css: of that VM
 *
 * Context: process, under spare_config.
 */
void spare_node_refresh(struct cgroup_subsys_state *css)
{
	struct cgroup_subsys_state *pos;

	lockdep_assert_held(&spare_config);

	guard(rcu)();
	css_for_each_descendant_pre(pos, css) {
		struct spare_node *node = spare_css_node(pos);
		struct spare_vm_kern *vm;

		if (!node)
			continue;
		vm = node->vm && spare_vm_placed(node->vm) ? node->vm : NULL;
		if (!vm && pos->parent)
			vm = css_effective(pos->parent);
		rcu_assign_pointer(node->effective, vm);
		/*
		 * Before we look at the children: a child that is linked after this look asks its parent, and
		 * must then see the new value. Pairs with the locks that cgroup creation takes before a task
		 * can enter.
		 */
		smp_mb();
	}
}

static struct blkcg_policy_data *node_alloc(gfp_t gfp)
{
	struct spare_node *node = kzalloc(sizeof(*node), gfp);

	if (!node)
		return NULL;
	RCU_INIT_POINTER(node->effective, UNRESOLVED);
	return &node->pd;
}

/*
 * The css is gone: nobody can name it, no task is in it, RCU readers have left, and its VM, which held it, has been removed. Or the
 * module is unloaded: the class is detached and the files are gone, but VMs are there. Under the io controller's mutex, for which
 * whoever makes a cgroup waits; so nothing of ours is waited for here but then (LIFE-8).
 */
static void node_free(struct blkcg_policy_data *cpd)
{
	struct spare_node *node = container_of(cpd, struct spare_node, pd);
	struct spare_vm_kern *vm = node->vm;

	if (vm && !READ_ONCE(vm->removed)) {
		guard(mutex)(&spare_config);
		remove_vm(vm);
	}
	if (vm)
		spare_vm_put(vm);
	kfree(node);
}

static struct blkcg_policy policy = {
	.cpd_alloc_fn	= node_alloc,
	.cpd_free_fn	= node_free,
};

/* The layouts that BTF confirmed must also work: the root's data is ours and points back at the root. */
static bool root_is_sane(void)
{
	struct cgroup_subsys_state *root;

	guard(rcu)();
	root = rcu_dereference(init_task.cgroups)->subsys[io_cgrp_id];
	while (root->parent)
		root = root->parent;
	return spare_css_node(root)->pd.plid == policy.plid && spare_node_css(spare_css_node(root)) == root;
}

/**
 * spare_node_init - have a node kept, and the files shown, in each cgroup
 * @files: of a cgroup
 * @remove: called, under spare_config, for VMs that are there when the module is unloaded
 *
 * Context: process, at load.
 * Return: 0; -errno, and a line in the log.
 */
int spare_node_init(struct cftype *files, void (*remove)(struct spare_vm_kern *vm))
{
	int err = spare_blkcg_verify();

	if (err)
		return err;
	policy.dfl_cftypes = files;
	remove_vm = remove;
	err = blkcg_policy_register(&policy);
	if (err) {
		pr_err("the io controller takes no further policy (%d); unload another one, e.g. bfq\n", err);
		return err;
	}
	/* The kernel warns where it had no memory for the files, and goes on without them: then nobody could be given anything. */
	if (!(files[0].flags & __CFTYPE_ADDED)) {
		pr_err("no memory for the cgroup files\n");
		blkcg_policy_unregister(&policy);
		return -ENOMEM;
	}
	if (!root_is_sane()) {
		pr_err("the io controller does not keep its data where this kernel's BTF says\n");
		blkcg_policy_unregister(&policy);
		return -EOPNOTSUPP;
	}
	return 0;
}

/**
 * spare_node_exit - no files and no nodes any more
 *
 * Context: process, at unload; the class is detached; no locks.
 */
void spare_node_exit(void)
{
	blkcg_policy_unregister(&policy);
}
