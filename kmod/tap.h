/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Taps: which VM a device's packets are for (spare.netdev).
 */
#ifndef KMOD_TAP_H
#define KMOD_TAP_H

#include <linux/list.h>
#include <linux/types.h>
#include "hook.h"

struct seq_file;
struct spare_vm_kern;

struct spare_tap {
	struct list_head list;		/* vm->taps */
	struct list_head all;		/* all_taps; once it is taken off: the list of those to be dropped */
	struct spare_hook_device hook;	/* its vm: a reference; its dev: none, NETDEV_UNREGISTER drops the tap */
	bool macvtap;
	bool keep;			/* under RTNL: named again by the list that is being written */
	struct rcu_head rcu;
};

int __must_check spare_tap_set(struct spare_vm_kern *vm, char *text);
void spare_tap_show(struct spare_vm_kern *vm, struct seq_file *m);
void spare_tap_show_packets(struct spare_vm_kern *vm, struct seq_file *m);
void spare_tap_unbind_all(struct spare_vm_kern *vm);

int __must_check spare_tap_init(void);
void spare_tap_exit(void);

#endif /* KMOD_TAP_H */
