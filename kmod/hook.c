// SPDX-License-Identifier: GPL-2.0
/*
 * Packets to a VM are noticed where its tap receives them: at the entry of tun_net_xmit(), tun_xdp_xmit() and tap_handle_frame() (macvtap), by
 * ftrace (SPARE-9). That is behind every queueing discipline, redirect and bypass, on the sender's CPU, and before the tap wakes whoever
 * reads it. The functions are traced from the first bound tap on.
 *
 * Lost wake-ups (SPARE-8): the hook counts the packet, then reads nr_throttled; the class counts nr_throttled
 * up, then reads rx_seq. Both with a full barrier between, so at least one of them sees the other.
 */
#include <linux/ftrace.h>
#include <linux/hashtable.h>
#include <linux/module.h>
#include <linux/netdevice.h>
#include <linux/timekeeping.h>
#include "hook.h"
#include "node.h"
#include "server.h"
#include "trace.h"
#include "vm.h"

/* The last packet that this CPU has brought to a VM: who is woken next, in the same context, is woken by it, and nobody else. */
struct arrival {
	const struct spare_vm_kern *vm;		/* not a reference: told by its address alone */
	const struct task_struct *in;	/* current, then; likewise */
	u8 level;			/* task, softirq or hard IRQ on its back */
	u64 ns;
};

#define WAKES_NS (NSEC_PER_MSEC)

static DEFINE_PER_CPU(struct arrival, arrivals);
static DEFINE_HASHTABLE(devices, 10);	/* struct spare_hook_device by dev, under RCU; one writer at a time */

/* The VM has THROTTLED servers: those that may borrow shall look whether this packet is theirs. */
static noinline void mark(struct spare_vm_kern *vm)
{
	unsigned int cpu;

	for_each_set_bit(cpu, (unsigned long *)vm->abi.cpus, nr_cpu_ids) {
		struct spare_server_kern *srv = spare_server_at(cpu, spare_vm_slot_on(vm, cpu));

		if (srv && READ_ONCE(srv->abi.state) == SPARE_THROTTLED && READ_ONCE(srv->abi.use[0]) != SPARE_NO_SLOT) {
			trace_spare_mark(srv);
			spare_server_attend(cpu, srv->slot);
		}
	}
}

/**
 * spare_hook_vm - whose tap a device is
 * @dev: any
 *
 * Context: under RCU.
 * Return: the VM, as long as RCU is held; NULL: it is bound to none.
 */
struct spare_vm_kern *spare_hook_vm(const struct net_device *dev)
{
	struct spare_hook_device *hd;

	hash_for_each_possible_rcu(devices, hd, node, (unsigned long)dev)
		if (hd->dev == dev)
			return hd->vm;
	return NULL;
}

/* n packets for the VM behind dev, if that is bound. Preemption is off. */
static void notrace packets(const struct net_device *dev, int n)
{
	struct arrival *last;
	struct spare_hook_device *hd;
	struct spare_vm_kern *vm;
	u64 now;

	hash_for_each_possible_rcu_notrace(devices, hd, node, (unsigned long)dev) {
		if (hd->dev != dev)
			continue;
		vm = hd->vm;
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

/**
 * spare_hook_wakes - is a task woken by a packet for its VM (SPARE-9)?
 * @p: which is being woken on this CPU
 *
 * One packet wakes one. What a VM's own thread brings (the host's answer to a ping of the guest) wakes no reader: that thread is the reader, and
 * wakes vCPUs.
 *
 * Context: under RCU, IRQs off.
 * Return: true once for each packet.
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
static DEFINE_MUTEX(arm_lock);			/* vm.h says where it stands */
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

/**
 * spare_hook_arm - trace those of the receiving functions that are there and not traced yet
 *
 * Context: process; no lock of ours nor RTNL, as ftrace has locks of its own; may sleep.
 */
void spare_hook_arm(void)
{
	struct receiver *r;
	int err;

	lockdep_assert_not_held(&spare_config);
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

/**
 * spare_hook_bind - packets of a device are its VM's from now on
 * @hd: with its device and VM
 *
 * Context: any; who binds and unbinds excludes the others.
 */
void spare_hook_bind(struct spare_hook_device *hd)
{
	hash_add_rcu(devices, &hd->node, (unsigned long)hd->dev);
}

/**
 * spare_hook_unbind - and no more
 * @hd: one that is bound; RCU may see it still
 *
 * Context: any; who binds and unbinds excludes the others.
 */
void spare_hook_unbind(struct spare_hook_device *hd)
{
	hash_del_rcu(&hd->node);
}

static struct notifier_block module_nb = { .notifier_call = module_event };

/**
 * spare_hook_sees - are the packets of a device noticed?
 * @dev: one of rtnl_link_ops @kind
 * @kind: "tun", "macvtap", or another one
 *
 * Context: process, under RTNL, after spare_hook_arm().
 * Return: 0; -EINVAL: a kind that we do not know; -EOPNOTSUPP: this kernel does not let us trace where it receives (its log says which function).
 */
int spare_hook_sees(const struct net_device *dev, const char *kind)
{
	struct receiver *r;
	int err = -EINVAL;

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

/**
 * spare_hook_init - before the first tap
 *
 * Context: process, at load.
 * Return: 0; -errno.
 */
int spare_hook_init(void)
{
	return register_module_notifier(&module_nb);
}

/**
 * spare_hook_exit - trace no more; no tap is bound
 *
 * Context: process, at unload; waits for handlers that run.
 */
void spare_hook_exit(void)
{
	disarm(NULL);
	unregister_module_notifier(&module_nb);
}
