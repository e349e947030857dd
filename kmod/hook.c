// SPDX-License-Identifier: GPL-2.0
/*
 * A netfilter egress hook on each bound tap: it runs on the sender's CPU, before the tap wakes vhost.
 *
 * Lost wake-ups (SPARE-8): the hook counts the packet, then reads nr_throttled; the class counts nr_throttled
 * up, then reads rx_seq. Both with a full barrier between, so at least one of them sees the other.
 *
 * Taps are on the list of their VM, which RCU may read, and on that of all, both under taps_lock: a leaf, also taken under RTNL. Hooks
 * are registered and dropped under neither of our locks, as netfilter has one of its own; a device that goes waits until its hook is dropped.
 */
#include <linux/cgroup.h>
#include <linux/if_arp.h>
#include <linux/netdevice.h>
#include <linux/netfilter.h>
#include <linux/nsproxy.h>
#include <linux/rtnetlink.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include <linux/timekeeping.h>
#include <linux/workqueue.h>
#include <net/net_namespace.h>
#include <net/rtnetlink.h>
#include "hook.h"
#include "server.h"
#include "vm.h"

struct tap {
	struct list_head list;		/* vm->taps */
	struct list_head all;		/* taps; once it is taken off both: the list of those to be dropped */
	struct vm *vm;			/* reference */
	struct net_device *dev;		/* no reference: NETDEV_UNREGISTER drops the tap */
	struct net *net;
	struct nf_hook_ops ops;
	bool keep;			/* under RTNL: named again by the list that is being written */
	struct rcu_head rcu;
};

static DEFINE_MUTEX(taps_lock);
static DEFINE_MUTEX(drop_lock);		/* held while drop_work drops: never under taps_lock */
static LIST_HEAD(taps);
static LIST_HEAD(lost);			/* of VMs that were removed: drop_work drops them */

static void drop_lost(struct work_struct *work);
static DECLARE_WORK(drop_work, drop_lost);

/* The VM has THROTTLED servers: those that may borrow shall look whether this packet is theirs. */
static noinline void mark(struct vm *vm)
{
	unsigned int cpu;

	for_each_set_bit(cpu, (unsigned long *)vm->abi.cpus, nr_cpu_ids) {
		struct server *srv = spare_server_at(cpu, spare_vm_slot_on(vm, cpu));

		if (srv && READ_ONCE(srv->abi.state) == SPARE_THROTTLED && READ_ONCE(srv->abi.use[0]) != SPARE_NO_SLOT)
			spare_server_attend(cpu, srv->slot);
	}
}

/* Under RCU, BH off. */
static unsigned int packet(void *priv, struct sk_buff *skb, const struct nf_hook_state *state)
{
	struct vm *vm = ((struct tap *)priv)->vm;

	WRITE_ONCE(vm->abi.rx_ns, ktime_get_mono_fast_ns());
	atomic64_inc_return((atomic64_t *)&vm->abi.rx_seq);	/* full barrier, see above */
	if (unlikely(READ_ONCE(vm->abi.nr_throttled)))
		mark(vm);
	return NF_ACCEPT;
}

static struct tap *tap_of(struct net_device *dev)
{
	struct tap *tap;

	lockdep_assert_held(&taps_lock);
	list_for_each_entry(tap, &taps, all)
		if (tap->dev == dev)
			return tap;
	return NULL;
}

/* A layer-2 device of the tun driver. */
static bool is_tap(const struct net_device *dev)
{
	return dev->rtnl_link_ops && !strcmp(dev->rtnl_link_ops->kind, "tun") && dev->type == ARPHRD_ETHER;
}

static struct tap *make(struct vm *vm, struct net_device *dev)
{
	struct tap *tap = kzalloc(sizeof(*tap), GFP_KERNEL);
	int err;

	ASSERT_RTNL();
	if (!tap)
		return ERR_PTR(-ENOMEM);
	tap->vm = vm;
	tap->dev = dev;
	tap->net = dev_net(dev);
	tap->ops.hook = packet;
	tap->ops.priv = tap;
	tap->ops.dev = dev;
	tap->ops.pf = NFPROTO_NETDEV;
	tap->ops.hooknum = NF_NETDEV_EGRESS;
	err = nf_register_net_hook(tap->net, &tap->ops);
	if (err) {
		kfree(tap);
		return ERR_PTR(err);
	}
	spare_vm_get(vm);
	tap->keep = true;
	return tap;
}

/* Hooks that are running keep tap and VM until their grace period ends. No lock of ours. */
static void drop(struct tap *tap)
{
	nf_unregister_net_hook(tap->net, &tap->ops);
	spare_vm_put(tap->vm);
	kfree_rcu(tap, rcu);
}

static void drop_all(struct list_head *list)
{
	struct tap *tap, *next;

	list_for_each_entry_safe(tap, next, list, all)
		drop(tap);
}

static void take_off(struct tap *tap, struct list_head *to)
{
	lockdep_assert_held(&taps_lock);
	list_del_rcu(&tap->list);
	list_move(&tap->all, to);
}

static void drop_lost(struct work_struct *work)
{
	LIST_HEAD(list);

	guard(mutex)(&drop_lock);
	scoped_guard(mutex, &taps_lock)
		list_splice_init(&lost, &list);
	drop_all(&list);
}

/* @vm has been removed. Its hooks are dropped soon. Under spare_config. */
void spare_hook_unbind_all(struct vm *vm)
{
	struct tap *tap, *next;

	guard(mutex)(&taps_lock);
	list_for_each_entry_safe(tap, next, &vm->taps, list)
		take_off(tap, &lost);
	if (!list_empty(&lost))
		schedule_work(&drop_work);
}

/* Is @dev @vm's already? 1: yes, and it stays; 0: nobody's; -EEXIST: another VM's; -EINVAL: named twice. Under RTNL. */
static int keep(struct vm *vm, struct net_device *dev)
{
	struct tap *tap;

	guard(mutex)(&taps_lock);
	tap = tap_of(dev);
	if (!tap)
		return 0;
	if (tap->vm != vm)
		return -EEXIST;
	if (tap->keep)
		return -EINVAL;
	tap->keep = true;
	return 1;
}

/* Taps for what @text names on top of what @vm has, on @fresh. */
static int make_named(struct vm *vm, char *text, struct list_head *fresh)
{
	struct net *net = current->nsproxy->net_ns;
	struct tap *tap;
	char *word;
	int err;

	while ((word = strsep(&text, " \t"))) {
		struct net_device *dev;

		if (!*word)
			continue;
		dev = strlen(word) < IFNAMSIZ ? __dev_get_by_name(net, word) : NULL;
		if (!dev)
			return -ENODEV;
		if (!is_tap(dev))
			return -EINVAL;
		list_for_each_entry(tap, fresh, all)
			if (tap->dev == dev)
				return -EINVAL;
		err = keep(vm, dev);
		if (err < 0)
			return err;
		if (err)
			continue;
		tap = make(vm, dev);
		if (IS_ERR(tap))
			return PTR_ERR(tap);
		list_add_tail(&tap->all, fresh);
	}
	return 0;
}

/* Make @fresh @vm's, besides those that it keeps; the others go to @old. -ENODEV: it has been removed meanwhile. */
static int exchange(struct vm *vm, struct list_head *fresh, struct list_head *old)
{
	struct tap *tap, *next;

	guard(mutex)(&taps_lock);
	if (READ_ONCE(vm->removed))	/* pairs with spare_hook_unbind_all() */
		return -ENODEV;
	list_for_each_entry_safe(tap, next, &vm->taps, list)
		if (!tap->keep)
			take_off(tap, old);
	list_for_each_entry(tap, fresh, all)
		list_add_tail_rcu(&tap->list, &vm->taps);
	list_splice_tail_init(fresh, &taps);
	return 0;
}

/**
 * spare_hook_set - replace a VM's taps
 * @vm: one whose file is being written to
 * @text: one line without its newline: names of taps, or "none"; is changed
 *
 * Context: process, under RTNL; takes netfilter's mutex, so no lock of ours is held.
 * Return: 0; -ENODEV: no such device, or the cgroup is being removed; -EINVAL: not a tap, or named twice; -EEXIST: another VM's; -ENOMEM.
 */
int spare_hook_set(struct vm *vm, char *text)
{
	LIST_HEAD(fresh);
	LIST_HEAD(old);
	struct tap *tap;
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

void spare_hook_show(struct vm *vm, struct seq_file *m)
{
	const char *sep = "";
	struct tap *tap;

	guard(rcu)();
	if (vm)
		list_for_each_entry_rcu(tap, &vm->taps, list) {
			seq_printf(m, "%s%s", sep, tap->dev->name);
			sep = " ";
		}
	seq_puts(m, *sep ? "\n" : "none\n");
}

/*
 * What the taps that are bound now have carried since they were made, seen from the VM: rx is to it. A tap drops to the VM when
 * its ring is full. RCU keeps the devices, as it does those of /proc/net/dev.
 */
void spare_hook_show_packets(struct vm *vm, struct seq_file *m)
{
	struct rtnl_link_stats64 st, sum = { };
	struct tap *tap;

	guard(rcu)();
	if (vm) {
		list_for_each_entry_rcu(tap, &vm->taps, list) {
			dev_get_stats(tap->dev, &st);
			sum.rx_dropped += st.tx_dropped;
			sum.tx_packets += st.rx_packets;
			sum.tx_dropped += st.rx_dropped;
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
	struct tap *tap, *next;

	if (event != NETDEV_UNREGISTER)
		return NOTIFY_DONE;
	scoped_guard(mutex, &taps_lock) {
		tap = tap_of(dev);
		if (tap) {
			/* Who has taps has not been removed altogether. */
			pr_info("%s: tap %s is gone from its network namespace, unbound\n",
				spare_vm_path(tap->vm, path, sizeof(path)), dev->name);
			take_off(tap, &old);
		}
		list_for_each_entry_safe(tap, next, &lost, all)
			if (tap->dev == dev)
				list_move(&tap->all, &old);
	}
	drop_all(&old);
	/* It may be among those that are being dropped. (To wait for the work itself would be to wait for its worker's fork, too.) */
	mutex_lock(&drop_lock);
	mutex_unlock(&drop_lock);
	return NOTIFY_DONE;
}

static struct notifier_block netdev_nb = { .notifier_call = netdev_event };

int spare_hook_init(void)
{
	return register_netdevice_notifier(&netdev_nb);
}

void spare_hook_exit(void)
{
	unregister_netdevice_notifier(&netdev_nb);
	flush_work(&drop_work);
	synchronize_rcu();	/* hooks that are still running */
}
