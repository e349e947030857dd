// SPDX-License-Identifier: GPL-2.0
/*
 * spare.net.max: the CPU that network work for a VM may use (GUARD-1, guard.h).
 *
 * The budget is the VM's (struct spare_guard). The class charges it for vhost workers and holds these back while nothing is left; programs at the VM's taps
 * (guard.bpf.c, which spared attaches) bring what the meter has counted of its softirqs, and drop. They ask by the kfuncs here, which are
 * for programs of that type alone, by their names.
 */
#include <linux/bpf.h>
#include <linux/btf.h>
#include <linux/btf_ids.h>
#include <linux/sched.h>
#include <linux/netdevice.h>
#include <linux/preempt.h>
#include <linux/sched/prio.h>
#include <net/rtnetlink.h>
#include <linux/seq_file.h>
#include <linux/skbuff.h>
#include <linux/string.h>
#include <linux/timekeeping.h>
#include <sched_spare/guard.h>
#include "class.h"
#include "event.h"
#include "guard.h"
#include "hook.h"
#include "node.h"
#include "vm.h"

/* The VM with a limit whose tap the packet is at. Under RCU. (A macvtap has its directions the other way round.) */
static struct spare_vm_kern *limited(const struct __sk_buff *packet)
{
	const struct net_device *dev = ((const struct sk_buff *)packet)->dev;
	struct spare_vm_kern *vm = dev ? spare_hook_vm(dev) : NULL;

	return vm && READ_ONCE(vm->abi.guard.cfg) && dev->rtnl_link_ops && !strcmp(dev->rtnl_link_ops->kind, "tun") ? vm : NULL;
}

/*
 * The class holds back whoever sends: a vhost worker of the VM's, in its servers. In a softirq (RPS, IFF_NAPI) it is not known who that was: it was one if
 * the VM has any.
 */
static bool class_holds(struct spare_vm_kern *vm)
{
	if (!spare_class_attached() || !READ_ONCE(vm->nr_servers))
		return false;
	if (!in_task())
		return ktime_get_mono_fast_ns() - READ_ONCE(vm->abi.guard.worker_ns) < NSEC_PER_SEC;
	return spare_is_worker(current->flags, current->comm) && current->prio >= MAX_RT_PRIO && spare_task_effective(current) == vm;
}

/**
 * spare_guard_of - whose limit a packet is under
 * @packet: at a tap
 *
 * Context: softirq, or task with softirqs off; under RCU.
 * Return: the VM's cgroup id; 0: nobody's.
 */
__bpf_kfunc u64 spare_guard_of(struct __sk_buff *packet)
{
	const struct spare_vm_kern *vm = limited(packet);

	return vm ? vm->abi.id : 0;
}

/**
 * spare_guard_asks - has a VM used up what its network work may use?
 * @packet: at its tap
 * @direction: enum spare_direction
 * @total_ns: what the meter has counted of its softirqs so far; 0: it does not count them
 *
 * Context: as spare_guard_of().
 * Return: true: and this packet is one that may be dropped for that.
 */
__bpf_kfunc bool spare_guard_asks(struct __sk_buff *packet, u32 direction, u64 total_ns)
{
	struct spare_vm_kern *vm = limited(packet);
	struct spare_guard *g;

	if (!vm)
		return false;
	g = &vm->abi.guard;
	if (total_ns)
		spare_guard_count(g, total_ns);
	return spare_guard_spent(g, direction, spare_guard_left(g, ktime_get_mono_fast_ns())) && !(direction == SPARE_TX && class_holds(vm));
}

/**
 * spare_guard_drops - is it to be dropped?
 * @packet: for which spare_guard_asks() said true
 * @direction: likewise
 * @needed: enum spare_guard_needed: some of these pass
 *
 * Context: as spare_guard_of().
 * Return: true: it is, and is counted as such.
 */
__bpf_kfunc bool spare_guard_drops(struct __sk_buff *packet, u32 direction, u32 needed)
{
	struct spare_vm_kern *vm = limited(packet);
	struct spare_guard *g;
	bool passes;

	if (!vm || direction > SPARE_TX)
		return false;
	g = &vm->abi.guard;
	passes = spare_guard_passes(g, direction, needed, ktime_get_mono_fast_ns());
	atomic64_inc((atomic64_t *)(passes ? &g->passed[direction] : &g->dropped[direction]));
	if (!passes && spare_guard_news(g))
		spare_event(vm, SPARE_EV_GUARDED);
	return !passes;
}

/**
 * spare_guard_set - a limit, or none
 * @vm: whose
 * @max: checked; period_us 0: none
 *
 * Context: process, under spare_config.
 */
void spare_guard_set(struct spare_vm_kern *vm, const struct spare_reservation *max)
{
	lockdep_assert_held(&spare_config);
	spare_guard_configure(&vm->abi.guard, max->period_us ? spare_cfg_pack(max->runtime_us, max->period_us) : 0, ktime_get_mono_fast_ns());
}

/**
 * spare_guard_show - the text of spare.net.max
 * @vm: NULL: nobody has written to the cgroup's files
 * @m: where to
 *
 * Context: process, no lock.
 */
void spare_guard_show(struct spare_vm_kern *vm, struct seq_file *m)
{
	u64 cfg = vm ? READ_ONCE(vm->abi.guard.cfg) : 0;

	if (cfg)
		seq_printf(m, "%u %u\n", upper_32_bits(cfg), lower_32_bits(cfg));
	else
		seq_puts(m, "max\n");
}

/**
 * spare_guard_show_stat - what spare.stat says of it, where there is a limit, or was
 * @vm: NULL: as there
 * @m: where to
 *
 * Context: process, no lock.
 */
void spare_guard_show_stat(struct spare_vm_kern *vm, struct seq_file *m)
{
	const struct spare_guard *g = vm ? &vm->abi.guard : NULL;

	/* (Who reads those of many VMs, again and again, pays for each line.) */
	if (!g || (!READ_ONCE(g->cfg) && !READ_ONCE(g->used_ns)))
		return;
	seq_printf(m, "net_ns %llu\n", READ_ONCE(g->used_ns));
	seq_printf(m, "net_held %llu\n", READ_ONCE(g->held));
	seq_printf(m, "net_rx_dropped %llu\n", READ_ONCE(g->dropped[SPARE_RX]));
	seq_printf(m, "net_tx_dropped %llu\n", READ_ONCE(g->dropped[SPARE_TX]));
	seq_printf(m, "net_rx_passed %llu\n", READ_ONCE(g->passed[SPARE_RX]));
	seq_printf(m, "net_tx_passed %llu\n", READ_ONCE(g->passed[SPARE_TX]));
}

BTF_KFUNCS_START(guard_kfuncs)
BTF_ID_FLAGS(func, spare_guard_of)
BTF_ID_FLAGS(func, spare_guard_asks)
BTF_ID_FLAGS(func, spare_guard_drops)
BTF_KFUNCS_END(guard_kfuncs)

static int guard_only(const struct bpf_prog *prog, u32 kfunc_id)
{
	return str_has_prefix(prog->aux->name, "spare_guard_") ? 0 : -EACCES;
}

static const struct btf_kfunc_id_set guard_set = {
	.owner	= THIS_MODULE,
	.set	= &guard_kfuncs,
	.filter	= guard_only,
};

/**
 * spare_guard_init - let programs at taps call the kfuncs
 *
 * Context: process, at load, when all else is there.
 * Return: 0; -errno.
 */
int spare_guard_init(void)
{
	return register_btf_kfunc_id_set(BPF_PROG_TYPE_SCHED_CLS, &guard_set);
}
