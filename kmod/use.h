/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Who may borrow from whom: spare.use.
 */
#ifndef KMOD_USE_H
#define KMOD_USE_H

#include <linux/list.h>

struct cgroup_subsys_state;
struct seq_file;
struct vm;

/* One name in spare.use: a provider, or the parent of providers. */
struct use {
	struct list_head list;
	struct cgroup_subsys_state *css;	/* reference; does not keep the cgroup from being removed */
};

/* What a write to spare.use asks for. */
enum use_who {
	USE_OPERATOR,
	USE_PROGRAM,	/* "auto": not where the list is an operator's */
	USE_HANDED_BACK,/* "default": none, and a program may write it again */
};

int __must_check spare_use_parse(char *text, enum use_who *who, struct list_head *uses);
int __must_check spare_use_set(struct vm *vm, struct list_head *uses, enum use_who who);
void spare_use_free(struct list_head *uses);
int spare_use_show(struct vm *vm, struct seq_file *m);
void spare_use_clear(struct vm *vm);

bool spare_use_has_user(struct vm *provider, int cpu);
bool spare_use_would_loop(struct vm *vm, struct list_head *uses, bool provides);
bool spare_use_covers(struct list_head *uses, const unsigned long *cpus);

void spare_use_resolve(struct vm *vm);
void spare_use_resolve_all(void);
void spare_use_provider_lost(struct vm *provider);
void spare_use_forget(struct cgroup_subsys_state *css);
void spare_use_drop_dying(void);

#endif /* KMOD_USE_H */
