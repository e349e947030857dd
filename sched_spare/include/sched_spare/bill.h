/* SPDX-License-Identifier: GPL-2.0 */
/*
 * bill.h - who a CPU works for: from events and time to amounts of (VM, kind) (rules ACC-1, ACC-2, ACC-4).
 *
 * After XenMon (Gupta, Gardner, Cherkasova, HPL-2005-187), which did this for Xen's domains; what the driver domain did for
 * them is softirq here.
 *
 * A CPU is at one of three levels: a thread (also idle), a softirq on top of it, a hard interrupt on top of either. Every
 * nanosecond goes to one account, an interrupt's to its own, a thread's to that of its kind. A softirq's is split where somebody has
 * had a packet, which is one event for each:
 *
 *   enter ─ driver ─ bridge, routing ─► tap (it has had it) ─ driver ─ IP ─► the host (it has had it) ─ driver ... leave
 *
 * What lies before that and after the last one is that packet's. A VM's tap has had it: the VM pays. The host, or a device that is no
 * tap: the host network does. What nobody's packet explains is split between the VMs and the host by packets: the end, and of the
 * beginning what the first packet took longer than others (a driver may do its part for all of them first).
 *
 * Where packets of a VM's tap are served in a softirq (RPS, IFF_NAPI) one must know when they enter the stack, too (spare_bill_packet):
 * who they came from pays, and one that nobody has had when the next one enters was the host's, or went out of that VM.
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

/* The first packet of a batch. */
enum spare_bill_led {
	SPARE_BILL_LED_NO,	/* none yet */
	SPARE_BILL_LED_UNTIMED,	/* somebody has had it, when was not read */
	SPARE_BILL_LED,		/* it has entered, or somebody has had it */
};

/* Bits of spare_bill.serves, looked at together for each packet. */
#define SPARE_BILL_SOFTIRQ	1u
#define SPARE_BILL_POLLS	2u

struct spare_payer {
	__u64 ns;		/* of the packets alone */
	__u32 account;
	__u32 packets;
};

struct spare_bill {
	__u64 begun_ns;		/* the last event but interrupts, before it changes anything */
	__u64 done_ns;		/* and after: readers on other CPUs see a whole state while the two are equal and irq_depth is 0 */
	__u64 since_ns;		/* told apart up to here: billed, but for what is the thread's (thread_ns) and the batch's (batch_ns) */
	__u64 thread_ns;	/* the thread's before softirqs, not billed yet */
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
	__u8 serves;		/* SPARE_BILL_SOFTIRQ: one is being served; SPARE_BILL_POLLS: the thread polls the network itself */
	__u8 open;		/* a packet has entered and reached no tap yet */
	__u8 led;		/* enum spare_bill_led */
	__u8 single;		/* the last batch was one packet */
	__u64 batch_ns;		/* billed up to here, and beyond_ns: what is later is the payers', in the end */
	__u64 beyond_ns;	/* billed already to accounts beyond those */
	__u64 first_ns;		/* the driver's beginning, and the first packet if nobody saw it enter */
	__u32 driver_only;	/* it is the driver's beginning alone */
	__u32 nr_payers;
	__u32 nr_beyond;	/* packets of accounts beyond */
	struct spare_payer payer[SPARE_BILL_PAYERS];
};

/* ns of this CPU were the account's, and packets of that VM's. Supplied by who includes this. */
static void spare_bill_add(struct spare_bill *b, __u32 account, __u64 ns, __u32 packets);

/* What is done for each packet, softirq and switch. */
#define SPARE_BILL_INLINE static inline __attribute__((always_inline))

/* From a monotonic clock; irq_total_ns as it was when that was read. */
static inline __u64 spare_bill_time(__u64 irq_total_ns, __u64 clock_ns)
{
	return clock_ns - irq_total_ns;
}

static inline void spare_bill_start(struct spare_bill *b, __u32 base, __u64 now)
{
	b->base = base;
	b->begun_ns = b->since_ns = b->batch_ns = b->done_ns = now;
}

SPARE_BILL_INLINE void spare_bill_event(struct spare_bill *b, __u64 now)
{
	*(volatile __u64 *)&b->begun_ns = now;
}

SPARE_BILL_INLINE void spare_bill_done(struct spare_bill *b, __u64 now)
{
	*(volatile __u64 *)&b->done_ns = now;
}

/* All since the last event goes to account. */
SPARE_BILL_INLINE void spare_bill_pay(struct spare_bill *b, __u32 account, __u64 now, __u32 packets)
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

static inline void spare_bill_count_further(struct spare_bill *b, __u32 account, __u64 ns)
{
	__u32 i;

	for (i = 0; i < SPARE_BILL_PAYERS; i++) {
		if (i >= b->nr_payers) {
			b->nr_payers = i + 1;
			b->payer[i].account = account;
			b->payer[i].packets = 1;
			b->payer[i].ns = ns;
			return;
		}
		if (b->payer[i].account == account) {
			b->payer[i].packets++;
			b->payer[i].ns += ns;
			return;
		}
	}
	spare_bill_add(b, account, ns, spare_account_vm(account) != 0);
	b->beyond_ns += ns;
	b->nr_beyond++;
}

/* One more packet of account, which took ns. */
SPARE_BILL_INLINE void spare_bill_count(struct spare_bill *b, __u32 account, __u64 ns)
{
	if (b->nr_payers && b->payer[0].account == account) {
		/* Mostly all are one's. */
		b->payer[0].packets++;
		b->payer[0].ns += ns;
		return;
	}
	spare_bill_count_further(b, account, ns);
}

/* Somebody has had the packet: account pays. */
SPARE_BILL_INLINE void spare_bill_had(struct spare_bill *b, __u32 account, __u64 now)
{
	__u64 ns = now - b->since_ns;

	b->open = 0;
	b->since_ns = now;
	if (b->led != SPARE_BILL_LED) {
		/* How much of it is the driver's beginning shows when others have come. */
		b->led = SPARE_BILL_LED;
		b->first_ns = ns;
		ns = 0;
	}
	spare_bill_count(b, account, ns);
}

/* Who pays for a packet that has entered and that nobody has had. */
SPARE_BILL_INLINE __u32 spare_bill_undelivered(const struct spare_bill *b)
{
	return b->owner ? spare_account(b->owner, SPARE_KIND_TX) : b->nobody;
}

/* Is the network being served here? Else packets are the thread's that carries them. */
SPARE_BILL_INLINE int spare_bill_serves(const struct spare_bill *b)
{
	return b->serves;
}

/* The same packet, seen again at an upper device (a bridge's own, a VLAN's). */
static inline int spare_bill_again(const struct spare_bill *b, __u64 packet, __u64 device)
{
	return b->open && b->packet == packet && b->device != device;
}

/* Must the clock be read for the packet that enters now? Not right after somebody has had the last one. */
static inline int spare_bill_packet_timed(const struct spare_bill *b)
{
	return b->open || b->led == SPARE_BILL_LED_NO;
}

/*
 * A packet enters the stack at device. packet: its address, as device; owner: whose tap the device is, 0: nobody's. now counts only when
 * spare_bill_packet_timed(). Only while spare_bill_serves() and not spare_bill_again().
 */
static inline void spare_bill_packet(struct spare_bill *b, __u64 packet, __u64 device, __u32 owner, __u64 now)
{
	if (b->open) {
		/* Nobody has had the last one. */
		spare_bill_had(b, spare_bill_undelivered(b), now);
	} else if (b->led == SPARE_BILL_LED_NO) {
		b->first_ns = now - b->since_ns;
		b->driver_only = 1;
		b->since_ns = now;
		b->led = SPARE_BILL_LED;
	}
	b->open = 1;
	b->owner = owner;
	b->packet = packet;
	b->device = device;
}

/*
 * Must the clock be read when somebody has had this packet? Where batches are of one packet, it is the end that counts; should another
 * one come, then the two and the driver's beginning are one stretch.
 */
SPARE_BILL_INLINE int spare_bill_tap_timed(const struct spare_bill *b)
{
	return b->led != SPARE_BILL_LED_NO || !b->single;
}

/* Who pays for a packet that a tap of vm has had; 0: that the host has, or a device that is no VM's. */
SPARE_BILL_INLINE __u32 spare_bill_tap_account(const struct spare_bill *b, __u32 vm)
{
	return !b->owner && vm ? spare_account(vm, SPARE_KIND_RX) : spare_bill_undelivered(b);
}

/* They have had one. One that is flooded to several reaches each; each pays for its copy. Only while spare_bill_serves(). */
SPARE_BILL_INLINE void spare_bill_tap(struct spare_bill *b, __u32 vm, __u64 now)
{
	spare_bill_had(b, spare_bill_tap_account(b, vm), now);
}

/* The same where the clock need not be read. */
SPARE_BILL_INLINE void spare_bill_tap_untimed(struct spare_bill *b, __u32 vm)
{
	b->led = SPARE_BILL_LED_UNTIMED;
	spare_bill_count(b, spare_bill_tap_account(b, vm), 0);
}

/* ---- batches ------------------------------------------------------------------------------------------------------ */

SPARE_BILL_INLINE void spare_bill_batch_begin(struct spare_bill *b, __u32 nobody)
{
	b->nobody = nobody;
	b->owner = 0;
	b->open = 0;
	b->led = SPARE_BILL_LED_NO;
	b->batch_ns = b->since_ns;
}

/* Split what is common by packets; what division leaves is nobody's. */
static inline void spare_bill_split(struct spare_bill *b, __u64 now)
{
	__u64 left = now - b->batch_ns - b->beyond_ns, others_ns = b->since_ns - b->batch_ns - b->first_ns, own_ns = 0, each, ns;
	__u32 packets = b->nr_beyond, others, i;

	for (i = 0; i < SPARE_BILL_PAYERS && i < b->nr_payers; i++)
		packets += b->payer[i].packets;
	if (!b->driver_only) {
		/* What the first packet itself took: as much as the others of its payer do, or those of all if it has no others. */
		others = packets - 1;
		if (b->payer[0].packets > 1) {
			others_ns = b->payer[0].ns;
			others = b->payer[0].packets - 1;
		}
		own_ns = others ? others_ns / others : 0;
		if (own_ns > b->first_ns)
			own_ns = b->first_ns;
	}
	each = (b->first_ns - own_ns + (now - b->since_ns)) / packets;
	for (i = 0; i < SPARE_BILL_PAYERS && i < b->nr_payers; i++) {
		ns = b->payer[i].ns + each * b->payer[i].packets + (i ? 0 : own_ns);
		spare_bill_add(b, b->payer[i].account, ns, spare_account_vm(b->payer[i].account) ? b->payer[i].packets : 0);
		left -= ns;
	}
	if (left)
		spare_bill_add(b, b->nobody, left, 0);
}

SPARE_BILL_INLINE void spare_bill_batch_end(struct spare_bill *b, __u64 now)
{
	if (b->open)
		spare_bill_had(b, spare_bill_undelivered(b), now);
	if (!b->nr_payers) {
		spare_bill_pay(b, b->nobody, now, 0);
		return;
	}
	b->single = b->payer[0].packets == 1;
	if (b->nr_payers == 1) {
		spare_bill_add(b, b->payer[0].account, now - b->batch_ns, spare_account_vm(b->payer[0].account) ? b->payer[0].packets : 0);
	} else {
		b->single = 0;
		spare_bill_split(b, now);
		b->beyond_ns = 0;
		b->nr_beyond = 0;
	}
	b->first_ns = 0;
	b->driver_only = 0;
	b->nr_payers = 0;
	b->since_ns = now;
}

/* ---- threads and softirqs ----------------------------------------------------------------------------------------- */

/* The thread's time up to now. */
SPARE_BILL_INLINE void spare_bill_thread(struct spare_bill *b, __u64 now)
{
	__u64 exit_ns = b->exit_ns, ns = b->thread_ns;

	b->thread_ns = 0;
	if (exit_ns) {
		/* It may have been noted a moment late, when a softirq had come between: then none of this was the guest's. */
		if (spare_account_kind(b->base) == SPARE_KIND_GUEST && spare_account_vm(b->base)) {
			if ((__s64)(exit_ns - b->since_ns) > 0 && (__s64)(now - exit_ns) >= 0) {
				ns += exit_ns - b->since_ns;
				b->since_ns = exit_ns;
			}
			spare_bill_add(b, b->base, ns, 0);
			ns = 0;
			b->base = spare_account(spare_account_vm(b->base), SPARE_KIND_VCPU);
		}
		b->exit_ns = 0;
	}
	spare_bill_add(b, b->base, ns + (now - b->since_ns), 0);
	b->since_ns = now;
}

/* Whoever has the CPU, up to now. */
SPARE_BILL_INLINE void spare_bill_stop(struct spare_bill *b, __u64 now)
{
	if (!spare_bill_serves(b)) {
		spare_bill_thread(b, now);
		return;
	}
	spare_bill_batch_end(b, now);
	if (b->thread_ns) {
		spare_bill_add(b, b->base, b->thread_ns, 0);
		b->thread_ns = 0;
	}
}

/* Another thread runs. polls: it does the network's work itself (threaded NAPI). */
SPARE_BILL_INLINE void spare_bill_switch(struct spare_bill *b, __u32 base, int polls, __u64 now)
{
	spare_bill_event(b, now);
	spare_bill_stop(b, now);
	b->irq_depth = 0;	/* no interrupt switches: one whose end was not seen */
	/* A softirq is switched away only with PREEMPT_RT; the rest of it is its thread's. */
	b->serves = polls ? SPARE_BILL_POLLS : 0;
	b->base = base;
	if (polls)
		spare_bill_batch_begin(b, spare_account(0, SPARE_HOST_NET));
	spare_bill_done(b, now);
}

/* nobody: the account of what no packet explains in it. */
SPARE_BILL_INLINE void spare_bill_softirq_enter(struct spare_bill *b, __u32 nobody, __u64 now)
{
	spare_bill_event(b, now);
	if (spare_bill_serves(b)) {
		spare_bill_batch_end(b, now);
	} else if (b->exit_ns) {
		spare_bill_thread(b, now);
	} else {
		b->thread_ns += now - b->since_ns;
		b->since_ns = now;
	}
	b->serves |= SPARE_BILL_SOFTIRQ;
	spare_bill_batch_begin(b, nobody);
	spare_bill_done(b, now);
}

SPARE_BILL_INLINE void spare_bill_softirq_exit(struct spare_bill *b, __u64 now)
{
	if (!(b->serves & SPARE_BILL_SOFTIRQ))
		return;		/* attached in the middle of one */
	spare_bill_event(b, now);
	spare_bill_batch_end(b, now);
	b->serves &= ~SPARE_BILL_SOFTIRQ;
	if (b->serves)
		spare_bill_batch_begin(b, spare_account(0, SPARE_HOST_NET));
	spare_bill_done(b, now);
}

/* The thread enters its guest: it is a vCPU of vm. Interrupts are off. */
SPARE_BILL_INLINE void spare_bill_guest_enter(struct spare_bill *b, __u32 vm, __u64 now)
{
	spare_bill_event(b, now);
	spare_bill_stop(b, now);
	b->serves = 0;		/* nor does a softirq go on: its end was not seen */
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
