/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Taps: which VM a device's packets are for (spare.netdev).
 */
#ifndef KMOD_TAP_H
#define KMOD_TAP_H

#include <linux/hashtable.h>
#include <linux/list.h>
#include <linux/types.h>

struct net_device;
struct seq_file;
struct spare_vm_kern;

struct spare_tap {
	struct list_head list;		/* vm->taps */
	struct list_head all;		/* all_taps; once it is taken off: the list of those to be dropped */
	struct hlist_node node;		/* spare_taps */
	struct spare_vm_kern *vm;			/* reference */
	struct net_device *dev;		/* no reference: NETDEV_UNREGISTER drops the tap */
	bool macvtap;
	bool keep;			/* under RTNL: named again by the list that is being written */
	struct rcu_head rcu;
};

/* By device; for the hook, under RCU. */
#define SPARE_TAPS_BITS 10
extern DECLARE_HASHTABLE(spare_taps, SPARE_TAPS_BITS);

int __must_check spare_tap_set(struct spare_vm_kern *vm, char *text);
void spare_tap_show(struct spare_vm_kern *vm, struct seq_file *m);
void spare_tap_show_packets(struct spare_vm_kern *vm, struct seq_file *m);
void spare_tap_unbind_all(struct spare_vm_kern *vm);

int __must_check spare_tap_init(void);
void spare_tap_exit(void);

#endif /* KMOD_TAP_H */
