/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Packets to a VM are noticed where its taps receive them (SPARE-2, SPARE-9).
 */
#ifndef KMOD_HOOK_H
#define KMOD_HOOK_H

#include <linux/types.h>

struct net_device;
struct spare_vm_kern;
struct task_struct;

/* A device whose packets are a VM's. Who binds it owns this, and keeps both until an RCU grace period after it is unbound. */
struct spare_hook_device {
	struct hlist_node node;
	struct net_device *dev;
	struct spare_vm_kern *vm;
};

void spare_hook_bind(struct spare_hook_device *hd);
void spare_hook_unbind(struct spare_hook_device *hd);

void spare_hook_arm(void);
int spare_hook_sees(const struct net_device *dev, const char *kind);
bool spare_hook_wakes(struct task_struct *p);
struct spare_vm_kern *spare_hook_vm(const struct net_device *dev);

int __must_check spare_hook_init(void);
void spare_hook_exit(void);

#endif /* KMOD_HOOK_H */
