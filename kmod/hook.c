// SPDX-License-Identifier: GPL-2.0
/*
 * Packets to a VM are noticed where its tap receives them: at the entry of tun_net_xmit(), tun_xdp_xmit() and tap_handle_frame() (macvtap), by
 * ftrace (SPARE-9). That is behind every queueing discipline, redirect and bypass, on the sender's CPU, and before the tap wakes whoever
 * reads it. The functions are traced from the first bound tap on.
 *
 * Lost wake-ups (SPARE-8): the hook counts the packet, then reads nr_throttled; the class counts nr_throttled
 * up, then reads rx_seq. Both with a full barrier between, so at least one of them sees the other.
 *
 * Taps are on the list of their VM and in a hash by their device, both of which RCU may read, and on the list of all: under taps_lock, a
 * leaf, also taken under RTNL.
 */
#include <linux/cgroup.h>
#include <linux/ftrace.h>
#include <linux/hashtable.h>
#include <linux/if_arp.h>
#include <linux/module.h>
#include <linux/netdevice.h>
#include <linux/nsproxy.h>
#include <linux/rtnetlink.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include <linux/timekeeping.h>
#include <net/net_namespace.h>
#include <net/rtnetlink.h>
#include "hook.h"
#include "node.h"
#include "server.h"
#include "vm.h"

struct tap {
	struct list_head list;		/* vm->taps */
	struct list_head all;		/* taps; once it is taken off: the list of those to be dropped */
	struct hlist_node node;		/* by_dev */
	struct vm *vm;			/* reference */
	struct net_device *dev;		/* no reference: NETDEV_UNREGISTER drops the tap */
	bool macvtap;
	bool keep;			/* under RTNL: named again by the list that is being written */
	struct rcu_head rcu;
};

static DEFINE_MUTEX(taps_lock);
static LIST_HEAD(taps);
static DEFINE_HASHTABLE(by_dev, 10);

/* The last packet that this CPU has brought to a VM: who is woken next, in the same context, is woken by it, and nobody else. */
struct arrival {
	const struct vm *vm;		/* not a reference: told by its address alone */
	const struct task_struct *in;	/* current, then; likewise */
	u8 level;			/* task, softirq or hard IRQ on its back */
	u64 ns;
};

#define WAKES_NS (NSEC_PER_MSEC)

static DEFINE_PER_CPU(struct arrival, arrivals);

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

/* n packets for the VM behind dev, if that is bound. Preemption is off. */
static void notrace packets(const struct net_device *dev, int n)
{
	struct arrival *last;
	struct tap *tap;
	struct vm *vm;
	u64 now;

	hash_for_each_possible_rcu_notrace(by_dev, tap, node, (unsigned long)dev) {
		if (tap->dev != dev)
			continue;
		vm = tap->vm;
		last = this_cpu_ptr(&arrivals);
		now = ktime_get_mono_fast_ns();
		WRITE_ONCE(last->vm, NULL);
		barrier();	/* an interrupt may bring another one meanwhile */
		last->in = current;
		last->level = interrupt_context_level();
		last->ns = now;
		barrier();
		WRITE_ONCE(last->vm, vm);
		WRITE_ONCE(vm->abi.rx_ns, now);
		atomic64_add_return(n, (atomic64_t *)&vm->abi.rx_seq);	/* full barrier, see above */
		if (unlikely(READ_ONCE(vm->abi.nr_throttled)))
			mark(vm);
		return;
	}
}

/*
 * Is p, which is being woken here, woken by a packet for its VM (SPARE-9)? One packet wakes one. What a VM's own thread brings (the host's
 * answer to a ping of the guest) wakes no reader: that thread is the reader, and wakes vCPUs. Under RCU, IRQs off.
 */
bool spare_hook_wakes(struct task_struct *p)
{
	struct arrival *last = this_cpu_ptr(&arrivals);

	if (!last->vm || last->in != current || last->level != interrupt_context_level() || last->vm != spare_task_effective(p) ||
	    ktime_get_mono_fast_ns() - last->ns >= WAKES_NS || (!last->level && last->vm == spare_task_effective(current)))
		return false;
	last->vm = NULL;
	return true;
}

/* netdev_tx_t tun_net_xmit(struct sk_buff *skb, struct net_device *dev) */
static void notrace tun_xmit(unsigned long ip, unsigned long parent, struct ftrace_ops *ops, struct ftrace_regs *regs)
{
	packets((const struct net_device *)ftrace_regs_get_argument(regs, 1), 1);
}

/* int tun_xdp_xmit(struct net_device *dev, int n, struct xdp_frame **frames, u32 flags) */
static void notrace tun_xdp(unsigned long ip, unsigned long parent, struct ftrace_ops *ops, struct ftrace_regs *regs)
{
	packets((const struct net_device *)ftrace_regs_get_argument(regs, 0), ftrace_regs_get_argument(regs, 1));
}

/* rx_handler_result_t tap_handle_frame(struct sk_buff **pskb) */
static void notrace tap_frame(unsigned long ip, unsigned long parent, struct ftrace_ops *ops, struct ftrace_regs *regs)
{
	packets((*(struct sk_buff **)ftrace_regs_get_argument(regs, 0))->dev, 1);
}

/* Where taps receive. None of these functions calls itself or another one; sysctl kernel.ftrace_enabled does not switch them off. */
#define HOOK(handler) { .func = handler, .flags = HOOK_FLAGS }
#define HOOK_FLAGS (FTRACE_OPS_FL_RECURSION | FTRACE_OPS_FL_PERMANENT)
static struct receiver {
	char function[24];
	const char *const module;
	const char *const kind;		/* of rtnl_link_ops */
	struct ftrace_ops ops;
	bool armed;			/* under arm_lock */
	bool going;			/* its module is being unloaded: under arm_lock */
	int err;			/* why not */
} receivers[] = {
	{ "tun_net_xmit", "tun", "tun", HOOK(tun_xmit) },
	{ "tun_xdp_xmit", "tun", "tun", HOOK(tun_xdp) },
	{ "tap_handle_frame", "tap", "macvtap", HOOK(tap_frame) },
};
static DEFINE_MUTEX(arm_lock);
static atomic_t arm_wanted = ATOMIC_INIT(1);	/* a module has been loaded since: perhaps one with such a function */

/* Not registered. (ftrace_free_filter() alone leaves freed hashes behind in some kernels.) */
static void forget(struct receiver *r)
{
	const ftrace_func_t handler = r->ops.func;

	ftrace_free_filter(&r->ops);
	memset(&r->ops, 0, sizeof(r->ops));
	r->ops.func = handler;
	r->ops.flags = HOOK_FLAGS;
}

/*
 * Trace those of these functions that are there and not traced yet. Process context, no lock of ours; ftrace has locks of its own, so not
 * under RTNL.
 */
void spare_hook_arm(void)
{
	struct receiver *r;
	int err;

	guard(mutex)(&arm_lock);
	if (!atomic_xchg(&arm_wanted, 0))
		return;
	for (r = receivers; r < receivers + ARRAY_SIZE(receivers); r++) {
		if (r->armed || r->going)
			continue;
		err = ftrace_set_filter(&r->ops, (unsigned char *)r->function, strlen(r->function), 1);
		if (!err)
			err = register_ftrace_function(&r->ops);
		if (err)
			forget(r);
		WRITE_ONCE(r->err, err);
		WRITE_ONCE(r->armed, !err);
		if (err && err != -EINVAL)	/* EINVAL: there is no such function */
			atomic_set(&arm_wanted, 1);
	}
}

/* Trace no more: waits for those that run. @module: only its functions, which are going; NULL: all. */
static void disarm(const char *module)
{
	struct receiver *r;

	guard(mutex)(&arm_lock);
	for (r = receivers; r < receivers + ARRAY_SIZE(receivers); r++) {
		if (module && strcmp(r->module, module))
			continue;
		r->going = module != NULL;
		if (!r->armed)
			continue;
		WRITE_ONCE(r->armed, false);
		unregister_ftrace_function(&r->ops);
		forget(r);
	}
}

/* A module is there: its functions are nobody's any more that are going. */
static void arrived(const char *module)
{
	struct receiver *r;

	scoped_guard(mutex, &arm_lock)
		for (r = receivers; r < receivers + ARRAY_SIZE(receivers); r++)
			if (!strcmp(r->module, module))
				r->going = false;
	atomic_set(&arm_wanted, 1);
}

/* ftrace would keep the addresses of a module that goes, which may be another one's next. */
static int module_event(struct notifier_block *nb, unsigned long event, void *module)
{
	if (event == MODULE_STATE_LIVE)
		arrived(((struct module *)module)->name);
	else if (event == MODULE_STATE_GOING)
		disarm(((struct module *)module)->name);
	return NOTIFY_DONE;
}

static struct notifier_block module_nb = { .notifier_call = module_event };

static struct tap *tap_of(struct net_device *dev)
{
	struct tap *tap;

	lockdep_assert_held(&taps_lock);
	list_for_each_entry(tap, &taps, all)
		if (tap->dev == dev)
			return tap;
	return NULL;
}

/* 0: a layer-2 device whose packets we see; -EINVAL: none; -EOPNOTSUPP: this kernel does not let us trace where it receives. */
static int check_tap(const struct net_device *dev)
{
	const char *kind = dev->rtnl_link_ops ? dev->rtnl_link_ops->kind : "";
	struct receiver *r;
	int err = -EINVAL;

	if (dev->type != ARPHRD_ETHER)
		return err;
	for (r = receivers; r < receivers + ARRAY_SIZE(receivers); r++) {
		if (strcmp(r->kind, kind))
			continue;
		if (!READ_ONCE(r->armed)) {
			pr_warn_ratelimited("%s: %s() cannot be traced (error %d%s): packets would not be seen\n", dev->name, r->function,
					    READ_ONCE(r->err), READ_ONCE(r->err) == -EBUSY ? ", is sysctl kernel.ftrace_enabled 0?" : "");
			return -EOPNOTSUPP;
		}
		err = 0;
	}
	return err;
}

static struct tap *make(struct vm *vm, struct net_device *dev)
{
	struct tap *tap = kzalloc(sizeof(*tap), GFP_KERNEL);

	ASSERT_RTNL();
	if (!tap)
		return NULL;
	tap->vm = vm;
	tap->dev = dev;
	tap->macvtap = !strcmp(dev->rtnl_link_ops->kind, "macvtap");
	spare_vm_get(vm);
	tap->keep = true;
	return tap;
}

/* Who sees it still keeps tap and VM until the grace period ends. No lock of ours. */
static void drop(struct tap *tap)
{
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
	hash_del_rcu(&tap->node);
	list_del_rcu(&tap->list);
	list_move(&tap->all, to);
}

/* @vm has been removed. Under spare_config. */
void spare_hook_unbind_all(struct vm *vm)
{
	struct tap *tap, *next;
	LIST_HEAD(old);

	scoped_guard(mutex, &taps_lock)
		list_for_each_entry_safe(tap, next, &vm->taps, list)
			take_off(tap, &old);
	drop_all(&old);
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
		err = check_tap(dev);
		if (err)
			return err;
		list_for_each_entry(tap, fresh, all)
			if (tap->dev == dev)
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
static int exchange(struct vm *vm, struct list_head *fresh, struct list_head *old)
{
	struct tap *tap, *next;

	guard(mutex)(&taps_lock);
	if (READ_ONCE(vm->removed))	/* pairs with spare_hook_unbind_all() */
		return -ENODEV;
	list_for_each_entry_safe(tap, next, &vm->taps, list)
		if (!tap->keep)
			take_off(tap, old);
	list_for_each_entry(tap, fresh, all) {
		list_add_tail_rcu(&tap->list, &vm->taps);
		hash_add_rcu(by_dev, &tap->node, (unsigned long)tap->dev);
	}
	list_splice_tail_init(fresh, &taps);
	return 0;
}

/**
 * spare_hook_set - replace a VM's taps
 * @vm: one whose file is being written to
 * @text: one line without its newline: names of taps, or "none"; is changed
 *
 * Context: process, under RTNL, after spare_hook_arm(); no lock of ours is held.
 * Return: 0; -ENODEV: no such device, or the cgroup is being removed; -EINVAL: not a tap, or named twice; -EEXIST: another VM's; -ENOMEM;
 * -EOPNOTSUPP: the kernel does not let us see its packets.
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
	struct tap *tap;

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
	}
	drop_all(&old);
	return NOTIFY_DONE;
}

static struct notifier_block netdev_nb = { .notifier_call = netdev_event };

int spare_hook_init(void)
{
	int err = register_module_notifier(&module_nb);

	if (err)
		return err;
	err = register_netdevice_notifier(&netdev_nb);
	if (err)
		unregister_module_notifier(&module_nb);
	return err;
}

void spare_hook_exit(void)
{
	unregister_netdevice_notifier(&netdev_nb);
	disarm(NULL);
	unregister_module_notifier(&module_nb);
}
