/* SPDX-License-Identifier: GPL-2.0 */
/*
 * bill.h - who a CPU works for: from events and time to amounts of (VM, kind) (rules ACC-1, ACC-2, ACC-4).
 *
 * After XenMon (Gupta, Gardner, Cherkasova, HPL-2005-187), which did this for Xen's domains; what the driver domain did for
 * them is softirq here.
 *
 * A CPU is at one of three levels: a thread (also idle), a softirq on top of it, a hard interrupt on top of either. Every
 * nanosecond goes to one account, an interrupt's to its own, a thread's to that of its kind. A softirq's is split at two
 * boundaries:
 *
 *   enter ─ driver ─► packet (it enters the stack) ─ bridge, routing ─► tap (it has had it) ─ driver ─► packet ... leave
 *
 * What lies before a packet's tap and after what came before is that packet's. It pays for whose tap it came in by, else for
 * whose tap it goes to. One that reached no tap when the next one enters, or the softirq ends, was the host's own, or went out
 * of a VM to elsewhere. What nobody's packet explains (the driver before the first packet, the end) is split between the VMs and the
 * host by packets.
 *
 * The clock is read where something ends: a packet that enters right after a tap has had the last one needs none, its driver's
 * part is its own (spare_bill_packet_timed).
 *
 * Plain C for BPF, the kernel and C++. Who includes it says before use where amounts go: spare_bill_add().
 * What it calls `now` is nanoseconds of a clock that stands still in hard interrupts, spare_bill_time() of a monotonic one. So what
 * an interrupt does here (spare_bill_irq_*) touches nothing that it may have interrupted.
 */
#ifndef SCHED_SPARE_BILL_H
#define SCHED_SPARE_BILL_H

#include "abi.h"

/* Of a VM. */
enum spare_kind {
	SPARE_KIND_GUEST,	/* vCPU, in the guest */
	SPARE_KIND_VCPU,	/* vCPU, on the host: KVM, exits to the emulator */
	SPARE_KIND_VHOST,
	SPARE_KIND_IOTHREAD,
	SPARE_KIND_EMULATOR,	/* and whatever else the VM's cgroup runs */
	SPARE_KIND_KTHREAD,	/* kernel threads that work for this VM alone */
	SPARE_KIND_RX,		/* softirq, packets to the VM */
	SPARE_KIND_TX,		/* softirq, packets from it */
	SPARE_KIND_IRQ,		/* hard interrupts that are this VM's alone */
	SPARE_KINDS,
};

/* Of VM 0, the host. */
enum spare_host_kind {
	SPARE_HOST_TASK,
	SPARE_HOST_NET,		/* softirq and threaded NAPI that are no VM's */
	SPARE_HOST_IDLE,
	SPARE_HOST_DEADLINE,
	SPARE_HOST_REALTIME,
	SPARE_HOST_SOFTIRQ,	/* other than the network's */
	SPARE_HOST_IRQ,
	SPARE_HOST_KINDS,
};
SPARE_STATIC_ASSERT((int)SPARE_HOST_KINDS <= (int)SPARE_KINDS, "one row for both");

/* An account: a VM and one of its kinds. */
#define SPARE_ACCOUNT_BITS 4
static inline __u32 spare_account(__u32 vm, __u32 kind)
{
	return vm << SPARE_ACCOUNT_BITS | kind;
}

static inline __u32 spare_account_vm(__u32 account)
{
	return account >> SPARE_ACCOUNT_BITS;
}

static inline __u32 spare_account_kind(__u32 account)
{
	return account & ((1u << SPARE_ACCOUNT_BITS) - 1);
}

#define SPARE_BILL_PAYERS 16	/* accounts that one batch is split between; what further ones would pay of it is the host network's */

struct spare_payer {
	__u32 account;
	__u32 packets;
};

struct spare_bill {
	__u64 begun_ns;		/* the last event but interrupts, before it changes anything */
	__u64 done_ns;		/* and after: readers on other CPUs see a whole state while the two are equal and irq_depth is 0 */
	__u64 since_ns;		/* billed up to here */
	__u64 exit_ns;		/* the vCPU has left the guest; 0: not, or known already */
	__u64 irq_total_ns;	/* all hard interrupts so far */
	__u64 irq_ns;		/* when this one began */
	__u32 irq_depth;
	__u32 base;		/* account of the thread */
	/* The softirq, or the run of a thread that polls the network itself. */
	__u32 nobody;		/* pays for what no packet explains */
	__u32 owner;		/* VM by whose tap the packet came in, 0: no tap */
	__u64 packet;		/* which packet that is */
	__u64 device;		/* where it entered */
	__u8 softirq;		/* one is being served */
	__u8 polls;		/* the thread polls the network */
	__u8 open;		/* a packet has entered and reached no tap yet */
	__u8 led;		/* the driver's part before the first packet has ended */
	__u64 common_ns;	/* to be split */
	__u32 nr_packets;	/* by so many: the payers', the host's and those beyond */
	__u32 nr_payers;
	struct spare_payer payer[SPARE_BILL_PAYERS];
};

/* ns of this CPU were the account's, and packets of that VM's. Supplied by who includes this. */
static void spare_bill_add(struct spare_bill *b, __u32 account, __u64 ns, __u32 packets);

/* From a monotonic clock; irq_total_ns as it was when that was read. */
static inline __u64 spare_bill_time(__u64 irq_total_ns, __u64 clock_ns)
{
	return clock_ns - irq_total_ns;
}

static inline void spare_bill_start(struct spare_bill *b, __u32 base, __u64 now)
{
	b->base = base;
	b->begun_ns = b->since_ns = b->done_ns = now;
}

static inline void spare_bill_event(struct spare_bill *b, __u64 now)
{
	*(volatile __u64 *)&b->begun_ns = now;
}

static inline void spare_bill_done(struct spare_bill *b, __u64 now)
{
	*(volatile __u64 *)&b->done_ns = now;
}

/* All since the last event goes to account. */
static inline void spare_bill_pay(struct spare_bill *b, __u32 account, __u64 now, __u32 packets)
{
	spare_bill_add(b, account, now - b->since_ns, packets);
	b->since_ns = now;
}

/* ---- hard interrupts ---------------------------------------------------------------------------------------------- */

static inline void spare_bill_irq_enter(struct spare_bill *b, __u64 clock_ns)
{
	if (!b->irq_depth++)
		b->irq_ns = clock_ns;
}

static inline void spare_bill_irq_exit(struct spare_bill *b, __u32 account, __u64 clock_ns)
{
	__u64 ns = clock_ns - b->irq_ns;

	if (!b->irq_depth)
		return;		/* attached in the middle of one */
	if (b->irq_depth == 1) {
		spare_bill_add(b, account, ns, 0);
		*(volatile __u64 *)&b->irq_total_ns += ns;
	}
	*(volatile __u32 *)&b->irq_depth -= 1;
}

/* ---- packets ------------------------------------------------------------------------------------------------------ */

/* One more packet of account shares what is common to the batch. */
static inline void spare_bill_count(struct spare_bill *b, __u32 account)
{
	__u32 i;

	b->nr_packets++;
	for (i = 0; i < SPARE_BILL_PAYERS; i++) {
		if (i >= b->nr_payers) {
			b->nr_payers = i + 1;
			b->payer[i].account = account;
			b->payer[i].packets = 1;
			return;
		}
		if (b->payer[i].account == account) {
			b->payer[i].packets++;
			return;
		}
	}
}

/* The packet that entered last has reached no tap: it was the host's, or a VM's to elsewhere. */
static inline void spare_bill_close(struct spare_bill *b, __u64 now)
{
	__u32 account = b->owner ? spare_account(b->owner, SPARE_KIND_TX) : b->nobody;

	b->open = 0;
	spare_bill_pay(b, account, now, b->owner != 0);
	spare_bill_count(b, account);
}

/* Is the network being served here? Else packets are the thread's that carries them. */
static inline int spare_bill_serves(const struct spare_bill *b)
{
	return b->softirq || b->polls;
}

/* The same packet, seen again at an upper device (a bridge's own, a VLAN's). */
static inline int spare_bill_again(const struct spare_bill *b, __u64 packet, __u64 device)
{
	return b->open && b->packet == packet && b->device != device;
}

/* Must the clock be read for the packet that enters now? */
static inline int spare_bill_packet_timed(const struct spare_bill *b)
{
	return b->open || !b->led;
}

/*
 * A packet enters the stack at device. packet: its address, as device; owner: whose tap the device is, 0: nobody's. now counts only when
 * spare_bill_packet_timed(). Only while spare_bill_serves() and not spare_bill_again().
 */
static inline void spare_bill_packet(struct spare_bill *b, __u64 packet, __u64 device, __u32 owner, __u64 now)
{
	if (b->open) {
		spare_bill_event(b, now);
		spare_bill_close(b, now);
		spare_bill_done(b, now);
	} else if (!b->led) {
		spare_bill_event(b, now);
		b->common_ns += now - b->since_ns;
		b->since_ns = now;
		spare_bill_done(b, now);
	}
	b->led = 1;
	b->open = 1;
	b->owner = owner;
	b->packet = packet;
	b->device = device;
}

/* A tap of vm has had a packet. One that is flooded to several reaches each; each pays for its copy. */
static inline void spare_bill_tap(struct spare_bill *b, __u32 vm, __u64 now)
{
	__u32 account = b->owner ? spare_account(b->owner, SPARE_KIND_TX) : spare_account(vm, SPARE_KIND_RX);

	spare_bill_event(b, now);
	b->open = 0;
	b->led = 1;
	spare_bill_pay(b, account, now, 1);
	spare_bill_count(b, account);
	spare_bill_done(b, now);
}

/* ---- batches ------------------------------------------------------------------------------------------------------ */

static inline void spare_bill_batch_begin(struct spare_bill *b, __u32 nobody)
{
	b->nobody = nobody;
	b->owner = 0;
	b->open = 0;
	b->led = 0;
}

/* Split what is common by packets; what division leaves is nobody's. */
static inline void spare_bill_batch_end(struct spare_bill *b, __u64 now)
{
	__u64 each, share, left;
	__u32 i;

	if (b->open)
		spare_bill_close(b, now);
	if (!b->nr_packets) {
		spare_bill_pay(b, b->nobody, now, 0);
		return;
	}
	left = b->common_ns + (now - b->since_ns);
	if (b->payer[0].packets == b->nr_packets) {
		/* Mostly all are one's. */
		spare_bill_add(b, b->payer[0].account, left, 0);
		goto done;
	}
	each = left / b->nr_packets;
	for (i = 0; i < SPARE_BILL_PAYERS && i < b->nr_payers; i++) {
		share = each * b->payer[i].packets;
		spare_bill_add(b, b->payer[i].account, share, 0);
		left -= share;
	}
	if (left)
		spare_bill_add(b, b->nobody, left, 0);
done:
	b->common_ns = 0;
	b->nr_packets = 0;
	b->nr_payers = 0;
	b->since_ns = now;
}

/* ---- threads and softirqs ----------------------------------------------------------------------------------------- */

/* The thread's time up to now. */
static inline void spare_bill_thread(struct spare_bill *b, __u64 now)
{
	__u64 exit_ns = b->exit_ns;

	if (exit_ns) {
		/* It may have been noted a moment late, when a softirq had come between: then none of this was the guest's. */
		if (spare_account_kind(b->base) == SPARE_KIND_GUEST && spare_account_vm(b->base)) {
			if ((__s64)(exit_ns - b->since_ns) > 0 && (__s64)(now - exit_ns) >= 0)
				spare_bill_pay(b, b->base, exit_ns, 0);
			b->base = spare_account(spare_account_vm(b->base), SPARE_KIND_VCPU);
		}
		b->exit_ns = 0;
	}
	spare_bill_pay(b, b->base, now, 0);
}

/* Whoever has the CPU, up to now. */
static inline void spare_bill_stop(struct spare_bill *b, __u64 now)
{
	if (spare_bill_serves(b))
		spare_bill_batch_end(b, now);
	else
		spare_bill_thread(b, now);
}

/* Another thread runs. polls: it does the network's work itself (threaded NAPI). */
static inline void spare_bill_switch(struct spare_bill *b, __u32 base, int polls, __u64 now)
{
	spare_bill_event(b, now);
	spare_bill_stop(b, now);
	b->irq_depth = 0;	/* no interrupt switches: one whose end was not seen */
	b->softirq = 0;		/* one is switched away only with PREEMPT_RT; the rest of it is its thread's */
	b->base = base;
	b->polls = polls != 0;
	if (polls)
		spare_bill_batch_begin(b, spare_account(0, SPARE_HOST_NET));
	spare_bill_done(b, now);
}

/* nobody: the account of what no packet explains in it. */
static inline void spare_bill_softirq_enter(struct spare_bill *b, __u32 nobody, __u64 now)
{
	spare_bill_event(b, now);
	spare_bill_stop(b, now);
	b->softirq = 1;
	spare_bill_batch_begin(b, nobody);
	spare_bill_done(b, now);
}

static inline void spare_bill_softirq_exit(struct spare_bill *b, __u64 now)
{
	if (!b->softirq)
		return;		/* attached in the middle of one */
	spare_bill_event(b, now);
	spare_bill_batch_end(b, now);
	b->softirq = 0;
	if (b->polls)
		spare_bill_batch_begin(b, spare_account(0, SPARE_HOST_NET));
	spare_bill_done(b, now);
}

/* The thread enters its guest: it is a vCPU of vm. Interrupts are off. */
static inline void spare_bill_guest_enter(struct spare_bill *b, __u32 vm, __u64 now)
{
	spare_bill_event(b, now);
	spare_bill_thread(b, now);
	b->base = spare_account(vm, SPARE_KIND_GUEST);
	spare_bill_done(b, now);
}

/*
 * It has left it. Interrupts may come, and the thread may be preempted in the middle of this: so it is one store, and the next
 * event makes something of it.
 */
static inline void spare_bill_guest_exit(struct spare_bill *b, __u64 now)
{
	if (!b->exit_ns)
		*(volatile __u64 *)&b->exit_ns = now;
}

#endif /* SCHED_SPARE_BILL_H */
