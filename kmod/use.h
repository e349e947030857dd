/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Who may borrow from whom: spare.use.
 */
#ifndef KMOD_USE_H
#define KMOD_USE_H

#include <linux/list.h>

struct cgroup_subsys_state;
struct spare_vm_kern;

/* One name in spare.use: a provider, or the parent of providers. */
struct spare_use {
	struct list_head list;
	struct cgroup_subsys_state *css;	/* reference; does not keep the cgroup from being removed */
};

/* What a write to spare.use asks for. */
enum spare_use_who {
	SPARE_USE_OPERATOR,
	SPARE_USE_PROGRAM,	/* "auto": not where the list is an operator's */
	SPARE_USE_HANDED_BACK,	/* "default": none, and a program may write it again */
};

int __must_check spare_use_set(struct spare_vm_kern *vm, struct list_head *uses, enum spare_use_who who);
void spare_use_free(struct list_head *uses);
void spare_use_clear(struct spare_vm_kern *vm);

bool spare_use_has_user(struct spare_vm_kern *provider, int cpu);
bool spare_use_would_loop(struct spare_vm_kern *vm, struct list_head *uses, bool provides);
bool spare_use_covers(struct list_head *uses, const unsigned long *cpus);

void spare_use_resolve(struct spare_vm_kern *vm);
void spare_use_resolve_all(void);
void spare_use_provider_lost(struct spare_vm_kern *provider);
void spare_use_forget(struct cgroup_subsys_state *css);
void spare_use_drop_dying(void);

#endif /* KMOD_USE_H */
