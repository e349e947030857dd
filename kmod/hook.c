// SPDX-License-Identifier: GPL-2.0
/*
 * A netfilter egress hook on each bound tap: it runs on the sender's CPU, before the tap wakes vhost.
 *
 * Lost wake-ups (SPARE-8): the hook counts the packet, then reads nr_throttled; the class counts nr_throttled
 * up, then reads rx_seq. Both with a full barrier between, so at least one of them sees the other.
 *
 * Taps are under spare_config; registering and dropping also under RTNL, which nests outside it.
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
#include <net/net_namespace.h>
#include <net/rtnetlink.h>
#include "hook.h"
#include "server.h"
#include "vm.h"

struct tap {
	struct list_head list;
	struct vm *vm;			/* reference */
	struct net_device *dev;		/* no reference: NETDEV_UNREGISTER drops the tap */
	struct net *net;
	struct nf_hook_ops ops;
	bool keep;			/* named again by the list that is being written */
	struct rcu_head rcu;
};

/* The VM has THROTTLED servers: those that may borrow shall look whether this packet is theirs. */
static noinline void mark(struct vm *vm)
{
	unsigned int cpu;

	for_each_set_bit(cpu, (unsigned long *)vm->abi.cpus, nr_cpu_ids) {
		struct server *srv = spare_server_at(cpu, spare_vm_slot_on(vm, cpu));

		if (srv && READ_ONCE(srv->abi.state) == SPARE_THROTTLED && READ_ONCE(srv->abi.use[0]) != SPARE_NO_SLOT)
			spare_server_attend(cpu, srv->abi.slot);
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
	struct vm *vm;

	list_for_each_entry(vm, &spare_vms, all)
		list_for_each_entry(tap, &vm->taps, list)
			if (tap->dev == dev)
				return tap;
	return NULL;
}

/* A layer-2 device of the tun driver. */
static bool is_tap(const struct net_device *dev)
{
	return dev->rtnl_link_ops && !strcmp(dev->rtnl_link_ops->kind, "tun") && dev->type == ARPHRD_ETHER;
}

static struct tap *bind(struct vm *vm, struct net_device *dev)
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
	vm->refs++;
	tap->keep = true;
	return tap;
}

/* Hooks that are running keep tap and VM until their grace period ends. */
static void unbind(struct tap *tap)
{
	lockdep_assert_held(&spare_config);
	list_del(&tap->list);
	nf_unregister_net_hook(tap->net, &tap->ops);
	spare_vm_put(tap->vm);
	kfree_rcu(tap, rcu);
}

void spare_hook_unbind_all(struct vm *vm)
{
	struct tap *tap, *next;

	list_for_each_entry_safe(tap, next, &vm->taps, list)
		unbind(tap);
}

/* Bind what @text names on top of what @vm has, new ones on @fresh. */
static int bind_words(struct vm *vm, char *text, struct list_head *fresh)
{
	struct net *net = current->nsproxy->net_ns;
	struct tap *tap;
	char *word;

	while ((word = strsep(&text, " \t"))) {
		struct net_device *dev;

		if (!*word)
			continue;
		dev = strlen(word) < IFNAMSIZ ? __dev_get_by_name(net, word) : NULL;
		if (!dev)
			return -ENODEV;
		if (!is_tap(dev))
			return -EINVAL;
		list_for_each_entry(tap, fresh, list)
			if (tap->dev == dev)
				return -EINVAL;
		tap = tap_of(dev);
		if (tap && tap->vm != vm)
			return -EEXIST;
		if (tap && tap->keep)
			return -EINVAL;
		if (tap) {
			tap->keep = true;
			continue;
		}
		tap = bind(vm, dev);
		if (IS_ERR(tap))
			return PTR_ERR(tap);
		list_add_tail(&tap->list, fresh);
	}
	return 0;
}

/* Replace @vm's taps. Under RTNL and spare_config. */
int spare_hook_set(struct vm *vm, char *text)
{
	struct tap *tap, *next;
	LIST_HEAD(fresh);
	int err = 0;

	ASSERT_RTNL();
	lockdep_assert_held(&spare_config);
	spare_vm_sweep();
	if (vm->removed)
		return -ENODEV;
	list_for_each_entry(tap, &vm->taps, list)
		tap->keep = false;
	text = strim(text);
	if (!*text)
		return -EINVAL;
	if (strcmp(text, "none"))
		err = bind_words(vm, text, &fresh);
	if (err) {
		list_for_each_entry_safe(tap, next, &fresh, list)
			unbind(tap);
		return err;
	}
	list_for_each_entry_safe(tap, next, &vm->taps, list)
		if (!tap->keep)
			unbind(tap);
	list_splice_tail(&fresh, &vm->taps);
	return 0;
}

void spare_hook_show(struct vm *vm, struct seq_file *m)
{
	const char *sep = "";
	struct tap *tap;

	if (!vm || list_empty(&vm->taps)) {
		seq_puts(m, "none\n");
		return;
	}
	list_for_each_entry(tap, &vm->taps, list) {
		seq_printf(m, "%s%s", sep, tap->dev->name);
		sep = " ";
	}
	seq_putc(m, '\n');
}

/*
 * What the taps that are bound now have carried since they were made, seen from the VM: rx is to it. A tap drops to the VM when
 * its ring is full. Under spare_config, which keeps the devices from going.
 */
void spare_hook_show_packets(struct vm *vm, struct seq_file *m)
{
	struct rtnl_link_stats64 st, sum = { };
	struct tap *tap;

	lockdep_assert_held(&spare_config);
	if (vm) {
		list_for_each_entry(tap, &vm->taps, list) {
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

/* A renamed device stays bound. One that goes, or leaves its network namespace, does not. Under RTNL. */
static int netdev_event(struct notifier_block *nb, unsigned long event, void *ptr)
{
	struct net_device *dev = netdev_notifier_info_to_dev(ptr);
	char path[160];
	struct tap *tap;

	if (event != NETDEV_UNREGISTER)
		return NOTIFY_DONE;
	guard(mutex)(&spare_config);
	tap = tap_of(dev);
	if (tap) {
		pr_info("%s: tap %s is gone from its network namespace, unbound\n",
			spare_vm_path(tap->vm, path, sizeof(path)), dev->name);
		unbind(tap);
	}
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
	synchronize_rcu();	/* hooks that are still running */
}
