/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A node: what the module keeps for every cgroup with the io controller. It is the io controller's policy
 * data, so it is born and freed with the cgroup's css.
 */
#ifndef KMOD_NODE_H
#define KMOD_NODE_H

#include "compat/blkcg.h"

struct spare_vm_kern;

struct spare_node {
	struct blkcg_policy_data pd;	/* first: the kernel hands this back to us */
	struct spare_vm_kern *vm;	/* reference; set by the first write to one of its files, under spare_config */
	struct spare_vm_kern __rcu *effective;	/* VM that its tasks belong to (CBS-10), NULL, or UNRESOLVED */
};

struct spare_node *spare_css_node(struct cgroup_subsys_state *css);

/**
 * spare_node_css - the io css of a node
 * @node: any
 *
 * Context: any.
 * Return: the css, which lives as long.
 */
static inline struct cgroup_subsys_state *spare_node_css(struct spare_node *node)
{
	return spare_cpd_to_css(&node->pd);
}

/**
 * spare_node_vm - the VM of a node
 * @node: of an open file
 *
 * Context: any, no lock.
 * Return: the VM, which lives as long as the file is open; NULL: nothing has been written.
 */
static inline struct spare_vm_kern *spare_node_vm(struct spare_node *node)
{
	return smp_load_acquire(&node->vm);	/* pairs with spare_node_vm_make() */
}

struct spare_vm_kern *spare_node_vm_make(struct spare_node *node);
struct spare_vm_kern *spare_task_effective(struct task_struct *p);
void spare_node_refresh(struct cgroup_subsys_state *css);

int __must_check spare_node_init(struct cftype *files, void (*remove)(struct spare_vm_kern *vm));
void spare_node_exit(void);

#endif /* KMOD_NODE_H */
