// SPDX-License-Identifier: GPL-2.0
/*
 * meter - the bill of every CPU (bill.h), by tracing alone: neither the module nor the class is needed, nothing of the host changes.
 *
 * 1. sched_switch says whose thread runs, softirq_entry/exit, irq_handler_entry/exit and the like what runs on top of it, kvm_entry/exit when
 *    a vCPU is in its guest, net_dev_xmit, ip_local_deliver and the like who has had a softirq's packets.
 * 2. A VM is a number that user space gives: to processes, cgroups (with all below them) and taps. A process that enters KVM or has a
 *    vhost worker and no number is announced in `found`, once.
 * 3. What a thread is, is told by what it does (enum spare_role), found out when it does it, and kept by thread.
 *
 * All of a CPU's state is written by that CPU: with interrupts off in a switch and at kvm_entry, in softirq, and by a hard interrupt,
 * which touches nothing that it may have interrupted (bill.h). What may be interrupted itself, the rest, only learns roles.
 * Each program can be left out: what is missing then is said by spared (userspace/meter/attach.cpp).
 */
#include "meter.bpf.h"
#include <bpf/bpf_tracing.h>
#include "meter_device.bpf.h"
#include "meter_thread.bpf.h"

char _license[] SEC("license") = "GPL";

/* 6.2 and later; for meter_dropped alone. */
extern void *bpf_rdonly_cast(const void *obj, u32 btf_id) __ksym __weak;

/* include/linux/interrupt.h */
#define NET_TX_SOFTIRQ	2
#define NET_RX_SOFTIRQ	3

SEC("tp_btf/sched_switch")
int BPF_PROG(meter_switch, bool preempt, struct task_struct *prev, struct task_struct *next)
{
	struct spare_meter_cpu *c = me();
	u32 account = account_of(next);
	u64 now;

	if (!c)
		return 0;
	now = now_of(&c->bill);
	if (!c->started_ns) {
		c->rows = bpf_get_smp_processor_id() * SPARE_METER_VMS;
		spare_bill_start(&c->bill, account, now);
		c->started_ns = now;
		return 0;
	}
	spare_bill_switch(&c->bill, account, account == spare_account(0, SPARE_HOST_NET), now);
	return 0;
}

/* ---- what it does ------------------------------------------------------------------------------------------------- */

static __noinline void vcpu_found(struct spare_meter_cpu *c, u64 now)
{
	struct task_struct *p = bpf_get_current_task_btf();
	u32 account;

	learn(p, SPARE_ROLE_VCPU);
	account = account_of(p);
	if (!spare_account_vm(account)) {
		announce(p);
		return;
	}
	spare_bill_guest_enter(&c->bill, spare_account_vm(account), now);
}

/* Interrupts are off. */
SEC("tp_btf/kvm_entry")
int BPF_PROG(meter_guest_enter, void *vcpu)
{
	struct spare_meter_cpu *c = me();
	u32 base, kind;

	if (!c || !c->started_ns)
		return 0;
	base = c->bill.base;
	kind = spare_account_kind(base);
	if (spare_account_vm(base) && (kind == SPARE_KIND_VCPU || kind == SPARE_KIND_GUEST))
		spare_bill_guest_enter(&c->bill, spare_account_vm(base), now_of(&c->bill));
	else
		vcpu_found(c, now_of(&c->bill));
	return 0;
}

SEC("tp_btf/kvm_exit")
int BPF_PROG(meter_guest_exit, void *vcpu)
{
	struct spare_meter_cpu *c = me();

	if (c && spare_account_vm(c->bill.base) && spare_account_kind(c->bill.base) == SPARE_KIND_GUEST)
		spare_bill_guest_exit(&c->bill, now_of(&c->bill));
	return 0;
}

/* Runs whenever a vhost worker has something to do. */
static __always_inline void vhost_works(void)
{
	struct spare_meter_cpu *c = me();
	struct task_struct *p;
	u32 vm;

	if (!c)
		return;
	vm = spare_account_vm(c->bill.base);
	if (vm && spare_account_kind(c->bill.base) == SPARE_KIND_VHOST)
		return;
	p = bpf_get_current_task_btf();
	learn(p, SPARE_ROLE_VHOST);
	if (!vm)
		announce(p);
}

SEC("fentry/vhost_run_work_list")
int BPF_PROG(meter_vhost, void *data)
{
	vhost_works();
	return 0;
}

/* The same where that function is not (before 6.4). */
SEC("fentry/handle_rx")
int BPF_PROG(meter_vhost_rx, void *net)
{
	vhost_works();
	return 0;
}

SEC("fentry/handle_tx")
int BPF_PROG(meter_vhost_tx, void *net)
{
	vhost_works();
	return 0;
}

/* A thread of an emulator that waits for eventfds, as its guest's ioeventfds are, and is not its first. */
SEC("fentry/eventfd_read")
int BPF_PROG(meter_iothread, void *iocb)
{
	struct spare_meter_cpu *c = me();
	struct task_struct *p;

	if (!c || !spare_account_vm(c->bill.base) || spare_account_kind(c->bill.base) != SPARE_KIND_EMULATOR)
		return 0;
	p = bpf_get_current_task_btf();
	if (p->pid != p->tgid)
		learn(p, SPARE_ROLE_IOTHREAD);
	return 0;
}

/* ---- on top of it ------------------------------------------------------------------------------------------------- */

SEC("tp_btf/softirq_entry")
int BPF_PROG(meter_softirq_enter, unsigned int vector)
{
	bool net = vector - NET_TX_SOFTIRQ <= NET_RX_SOFTIRQ - NET_TX_SOFTIRQ;
	struct spare_meter_cpu *c = me();

	if (c && c->started_ns)
		spare_bill_softirq_enter(&c->bill, spare_account(0, net ? SPARE_HOST_NET : SPARE_HOST_SOFTIRQ), now_of(&c->bill));
	return 0;
}

SEC("tp_btf/softirq_exit")
int BPF_PROG(meter_softirq_exit, unsigned int vector)
{
	struct spare_meter_cpu *c = me();

	if (c && c->started_ns)
		spare_bill_softirq_exit(&c->bill, now_of(&c->bill));
	return 0;
}

static __always_inline int irq_enter(void)
{
	struct spare_meter_cpu *c = me();

	if (c && c->started_ns)
		spare_bill_irq_enter(&c->bill, bpf_ktime_get_ns());
	return 0;
}

static __always_inline int irq_exit(void)
{
	struct spare_meter_cpu *c = me();

	if (c && c->started_ns)
		spare_bill_irq_exit(&c->bill, spare_account(0, SPARE_HOST_IRQ), bpf_ktime_get_ns());
	return 0;
}

/* Devices' interrupts, and x86's own: the timer, and what other CPUs ask for. */
SEC("tp_btf/irq_handler_entry") int BPF_PROG(meter_irq_enter) { return irq_enter(); }
SEC("tp_btf/irq_handler_exit") int BPF_PROG(meter_irq_exit) { return irq_exit(); }
SEC("tp_btf/local_timer_entry") int BPF_PROG(meter_timer_enter) { return irq_enter(); }
SEC("tp_btf/local_timer_exit") int BPF_PROG(meter_timer_exit) { return irq_exit(); }
SEC("tp_btf/call_function_single_entry") int BPF_PROG(meter_call_enter) { return irq_enter(); }
SEC("tp_btf/call_function_single_exit") int BPF_PROG(meter_call_exit) { return irq_exit(); }

/* ---- packets ------------------------------------------------------------------------------------------------------ */

/* Only where a VM's own packets are served in softirqs (meter.steers): elsewhere it is enough to know who has had a packet. */
SEC("tp_btf/netif_receive_skb")
int BPF_PROG(meter_packet, struct sk_buff *skb)
{
	struct spare_meter_cpu *c = me();
	struct net_device *dev;

	if (!c || !spare_bill_serves(&c->bill))
		return 0;
	dev = skb->dev;
	if (!spare_bill_again(&c->bill, (u64)skb, (u64)dev))
		spare_bill_packet(&c->bill, (u64)skb, (u64)dev, vm_of_device(c, dev), spare_bill_packet_timed(&c->bill) ? now_of(&c->bill) : 0);
	return 0;
}

static __always_inline void somebody_had(struct spare_meter_cpu *c, u32 vm)
{
	if (spare_bill_tap_timed(&c->bill))
		spare_bill_tap(&c->bill, vm, now_of(&c->bill));
	else
		spare_bill_tap_untimed(&c->bill, vm);
}

/* After a device has sent it, so that waking who reads a tap is the packet's. */
SEC("tp_btf/net_dev_xmit")
int BPF_PROG(meter_sent, struct sk_buff *skb, int rc, struct net_device *dev, unsigned int length)
{
	struct spare_meter_cpu *c = me();
	u32 vm;

	if (!c || !spare_bill_serves(&c->bill) || rc == NETDEV_TX_BUSY)
		return 0;
	vm = vm_of_device(c, dev);
	if (vm || !is_upper(dev))
		somebody_had(c, vm);
	return 0;
}

/* A limit drops it at the VM's tap (kmod/guard.c; of what that returns only a byte means something): what it took up to there is the VM's all the same. */
SEC("fexit/spare_guard_drops")
int BPF_PROG(meter_dropped, void *packet, u32 direction, u32 needed, u64 dropped)
{
	struct spare_meter_cpu *c = me();
	struct sk_buff *skb;

	if (!c || !(u8)dropped || direction != SPARE_RX || !spare_bill_serves(&c->bill))
		return 0;
	skb = bpf_rdonly_cast(packet, bpf_core_type_id_kernel(struct sk_buff));
	somebody_had(c, vm_of_device(c, skb->dev));
	return 0;
}

static __always_inline int host_had(void)
{
	struct spare_meter_cpu *c = me();

	if (c && spare_bill_serves(&c->bill))
		somebody_had(c, 0);
	return 0;
}

/* The host's own: at their return, with what its protocols and sockets do. */
SEC("fexit/ip_local_deliver") int BPF_PROG(meter_host_ip) { return host_had(); }
SEC("fexit/ip6_input") int BPF_PROG(meter_host_ip6) { return host_had(); }
SEC("fexit/arp_rcv") int BPF_PROG(meter_host_arp) { return host_had(); }
