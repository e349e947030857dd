// SPDX-License-Identifier: GPL-2.0
/*
 * Taps: which VM a device's packets are for (spare.netdev).
 *
 * They are on the list of their VM and bound to the hook, both of which RCU may read, and on the list of all: under taps_lock, which is also
 * taken under RTNL (vm.h).
 */
#include <linux/cgroup.h>
#include <linux/if_arp.h>
#include <linux/netdevice.h>
#include <linux/nsproxy.h>
#include <linux/rtnetlink.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include <net/net_namespace.h>
#include <net/rtnetlink.h>
#include "hook.h"
#include "tap.h"
#include "vm.h"

static DEFINE_MUTEX(taps_lock);
static LIST_HEAD(all_taps);

static struct spare_tap *tap_of(struct net_device *dev)
{
	struct spare_tap *tap;

	lockdep_assert_held(&taps_lock);
	list_for_each_entry(tap, &all_taps, all)
		if (tap->hook.dev == dev)
			return tap;
	return NULL;
}

/* 0: a layer-2 device whose packets we see. */
static int check(const struct net_device *dev)
{
	return dev->type == ARPHRD_ETHER ? spare_hook_sees(dev, dev->rtnl_link_ops ? dev->rtnl_link_ops->kind : "") : -EINVAL;
}

static struct spare_tap *make(struct spare_vm_kern *vm, struct net_device *dev)
{
	struct spare_tap *tap = kzalloc(sizeof(*tap), GFP_KERNEL);

	ASSERT_RTNL();
	if (!tap)
		return NULL;
	tap->hook.vm = vm;
	tap->hook.dev = dev;
	tap->macvtap = !strcmp(dev->rtnl_link_ops->kind, "macvtap");
	spare_vm_get(vm);
	tap->keep = true;
	return tap;
}

/* Who sees it still keeps tap and VM until the grace period ends. No lock of ours. */
static void drop(struct spare_tap *tap)
{
	spare_vm_put(tap->hook.vm);
	kfree_rcu(tap, rcu);
}

static void drop_all(struct list_head *list)
{
	struct spare_tap *tap, *next;

	list_for_each_entry_safe(tap, next, list, all)
		drop(tap);
}

static void take_off(struct spare_tap *tap, struct list_head *to)
{
	lockdep_assert_held(&taps_lock);
	spare_hook_unbind(&tap->hook);
	list_del_rcu(&tap->list);
	list_move(&tap->all, to);
}

/**
 * spare_tap_unbind_all - a VM has none any more
 * @vm: it has been removed
 *
 * Context: process, under spare_config.
 */
void spare_tap_unbind_all(struct spare_vm_kern *vm)
{
	struct spare_tap *tap, *next;
	LIST_HEAD(old);

	scoped_guard(mutex, &taps_lock)
		list_for_each_entry_safe(tap, next, &vm->taps, list)
			take_off(tap, &old);
	drop_all(&old);
}

/* Is @dev @vm's already? 1: yes, and it stays; 0: nobody's; -EEXIST: another VM's; -EINVAL: named twice. Under RTNL. */
static int keep(struct spare_vm_kern *vm, struct net_device *dev)
{
	struct spare_tap *tap;

	guard(mutex)(&taps_lock);
	tap = tap_of(dev);
	if (!tap)
		return 0;
	if (tap->hook.vm != vm)
		return -EEXIST;
	if (tap->keep)
		return -EINVAL;
	tap->keep = true;
	return 1;
}

/* Taps for what @text names on top of what @vm has, on @fresh. */
static int make_named(struct spare_vm_kern *vm, char *text, struct list_head *fresh)
{
	struct net *net = current->nsproxy->net_ns;
	struct spare_tap *tap;
	char *word;
	int err;

	while ((word = strsep(&text, " \t"))) {
		struct net_device *dev;

		if (!*word)
			continue;
		dev = strlen(word) < IFNAMSIZ ? __dev_get_by_name(net, word) : NULL;
		if (!dev)
			return -ENODEV;
		err = check(dev);
		if (err)
			return err;
		list_for_each_entry(tap, fresh, all)
			if (tap->hook.dev == dev)
				return -EINVAL;
		err = keep(vm, dev);
		if (err < 0)
			return err;
		if (err)
			continue;
		tap = make(vm, dev);
		if (!tap)
			return -ENOMEM;
		list_add_tail(&tap->all, fresh);
	}
	return 0;
}

/* Make @fresh @vm's, besides those that it keeps; the others go to @old. -ENODEV: it has been removed meanwhile. */
static int exchange(struct spare_vm_kern *vm, struct list_head *fresh, struct list_head *old)
{
	struct spare_tap *tap, *next;

	guard(mutex)(&taps_lock);
	if (READ_ONCE(vm->removed))	/* pairs with spare_tap_unbind_all() */
		return -ENODEV;
	list_for_each_entry_safe(tap, next, &vm->taps, list)
		if (!tap->keep)
			take_off(tap, old);
	list_for_each_entry(tap, fresh, all) {
		list_add_tail_rcu(&tap->list, &vm->taps);
		spare_hook_bind(&tap->hook);
	}
	list_splice_tail_init(fresh, &all_taps);
	return 0;
}

/**
 * spare_tap_set - replace a VM's taps
 * @vm: one whose file is being written to
 * @text: one line without its newline: names of taps, or "none"; is changed
 *
 * Context: process, under RTNL, after spare_hook_arm(); no lock of ours is held.
 * Return: 0; -ENODEV: no such device, or the cgroup is being removed; -EINVAL: not a tap, or named twice; -EEXIST: another VM's; -ENOMEM;
 * -EOPNOTSUPP: the kernel does not let us see its packets.
 */
int spare_tap_set(struct spare_vm_kern *vm, char *text)
{
	LIST_HEAD(fresh);
	LIST_HEAD(old);
	struct spare_tap *tap;
	int err = 0;

	ASSERT_RTNL();
	lockdep_assert_not_held(&spare_config);
	text = strim(text);
	if (!*text)
		return -EINVAL;
	scoped_guard(mutex, &taps_lock)
		list_for_each_entry(tap, &vm->taps, list)
			tap->keep = false;
	if (strcmp(text, "none"))
		err = make_named(vm, text, &fresh);
	if (!err)
		err = exchange(vm, &fresh, &old);
	drop_all(err ? &fresh : &old);
	return err;
}

/**
 * spare_tap_show - the text of spare.netdev
 * @vm: NULL: nobody has written to the cgroup's files
 * @m: where to
 *
 * Context: process, no lock.
 */
void spare_tap_show(struct spare_vm_kern *vm, struct seq_file *m)
{
	const char *sep = "";
	struct spare_tap *tap;

	guard(rcu)();
	if (vm)
		list_for_each_entry_rcu(tap, &vm->taps, list) {
			seq_printf(m, "%s%s", sep, tap->hook.dev->name);
			sep = " ";
		}
	seq_puts(m, *sep ? "\n" : "none\n");
}

/**
 * spare_tap_show_packets - the lines of spare.stat that taps count
 * @vm: NULL: as there
 * @m: where to
 *
 * What the taps that are bound now have carried since they were made, seen from the VM: rx is to it. A tap drops to the VM when its ring is full.
 *
 * Context: process, no lock; RCU keeps the devices, as it does those of /proc/net/dev.
 */
void spare_tap_show_packets(struct spare_vm_kern *vm, struct seq_file *m)
{
	struct rtnl_link_stats64 st, sum = { };
	struct spare_tap *tap;

	guard(rcu)();
	if (vm) {
		list_for_each_entry_rcu(tap, &vm->taps, list) {
			dev_get_stats(tap->hook.dev, &st);
			/* What a tun device sends, and a macvtap receives, is the VM's to receive. */
			sum.rx_dropped += tap->macvtap ? st.rx_dropped : st.tx_dropped;
			sum.tx_packets += tap->macvtap ? st.tx_packets : st.rx_packets;
			sum.tx_dropped += tap->macvtap ? st.tx_dropped : st.rx_dropped;
		}
	}
	seq_printf(m, "rx_dropped %llu\n", sum.rx_dropped);
	seq_printf(m, "tx_packets %llu\n", sum.tx_packets);
	seq_printf(m, "tx_dropped %llu\n", sum.tx_dropped);
}

/*
 * A renamed device stays bound. One that goes, or leaves its network namespace, does not: told by its address alone, as its owner may
 * have changed what it is. Under RTNL.
 */
static int netdev_event(struct notifier_block *nb, unsigned long event, void *ptr)
{
	struct net_device *dev = netdev_notifier_info_to_dev(ptr);
	LIST_HEAD(old);
	char path[160];
	struct spare_tap *tap;

	if (event != NETDEV_UNREGISTER)
		return NOTIFY_DONE;
	scoped_guard(mutex, &taps_lock) {
		tap = tap_of(dev);
		if (tap) {
			/* Who has taps has not been removed altogether. */
			pr_info("%s: tap %s is gone from its network namespace, unbound\n",
				spare_vm_path(tap->hook.vm, path, sizeof(path)), dev->name);
			take_off(tap, &old);
		}
	}
	drop_all(&old);
	return NOTIFY_DONE;
}

static struct notifier_block netdev_nb = { .notifier_call = netdev_event };

/**
 * spare_tap_init - before the first tap
 *
 * Context: process, at load.
 * Return: 0; -errno.
 */
int spare_tap_init(void)
{
	return register_netdevice_notifier(&netdev_nb);
}

/**
 * spare_tap_exit - no tap is left
 *
 * Context: process, at unload.
 */
void spare_tap_exit(void)
{
	unregister_netdevice_notifier(&netdev_nb);
}
