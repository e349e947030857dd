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
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include <bpf/bpf_core_read.h>
#include <sched_spare/abi.h>
#include <sched_spare/bill.h>
#include <sched_spare/meter.h>

char _license[] SEC("license") = "GPL";

/* include/linux/sched.h, interrupt.h */
#define PF_IO_WORKER	0x00000010
#define PF_USER_WORKER	0x00004000
#define PF_KTHREAD	0x00200000
#define SCHED_FIFO	1
#define SCHED_RR	2
#define SCHED_DEADLINE	6
#define NET_TX_SOFTIRQ	2
#define NET_RX_SOFTIRQ	3
#define RX_QUEUES	8	/* of a tap, looked at for RPS */
#define COMM_PIT	"kvm-pit/"
#define COMM_VHOST	"vhost-"
#define COMM_NAPI	"napi/"

/* User space raises it when VMs come or go: what is known of threads and devices is looked up anew. */
u32 meter_gen = 1;
/* Raised when there is a VM's tap whose packets may be served in softirqs (RPS). */
u32 meter_steers = 0;
/* When a thread ran last that may be a vhost worker and has not shown it yet. */
u64 meter_worker_ns = 0;

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);		/* set at load: possible CPUs */
	__type(key, u32);
	__type(value, struct spare_meter_cpu);
} cpus SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, SPARE_METER_VMS);	/* set at load: times possible CPUs */
	__type(key, u32);
	__type(value, struct spare_meter_row);
} rows SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, SPARE_METER_THREADS);
	__type(key, u32);
	__type(value, struct spare_meter_thread);
} threads SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, SPARE_METER_THREADS / 2);
	__type(key, u32);
	__type(value, struct spare_meter_role);
} roles SEC(".maps");

/* VMs by process, by cgroup (id), by tap. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4 * SPARE_METER_VMS);
	__type(key, u32);
	__type(value, u32);
} processes SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4 * SPARE_METER_VMS);
	__type(key, u64);
	__type(value, u32);
} cgroups SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8 * SPARE_METER_VMS);
	__type(key, struct spare_meter_tap);
	__type(value, u32);
} taps SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 65536);
} found SEC(".maps");

/* Who has been announced: process, or thread of the kernel. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, SPARE_METER_ANNOUNCED);
	__type(key, u32);
	__type(value, u32);
} announced SEC(".maps");

static __always_inline struct spare_meter_cpu *me(void)
{
	u32 cpu = bpf_get_smp_processor_id();

	return bpf_map_lookup_elem(&cpus, &cpu);
}

static __always_inline void spare_bill_add(struct spare_bill *b, u32 account, u64 ns, u32 packets)
{
	struct spare_meter_cpu *c = container_of(b, struct spare_meter_cpu, bill);
	u32 at = c->rows + spare_account_vm(account), kind = spare_account_kind(account);
	struct spare_meter_row *row = bpf_map_lookup_elem(&rows, &at);

	if (!row || kind >= SPARE_KINDS)
		return;
	row->ns[kind] += ns;
	if (packets)
		row->packets[kind == SPARE_KIND_TX] += packets;
}

/* The clock that stands still in hard interrupts. One of these may come between the two readings. */
static __always_inline u64 now_of(struct spare_bill *b)
{
	u64 irqs, now;
	int i;

	for (i = 0; i < 4; i++) {
		irqs = *(volatile u64 *)&b->irq_total_ns;
		now = bpf_ktime_get_ns();
		if (irqs == *(volatile u64 *)&b->irq_total_ns)
			break;
	}
	return spare_bill_time(irqs, now);
}

/* ---- whose thread ------------------------------------------------------------------------------------------------- */

static __always_inline u32 role_of(u32 pid, u64 start_ns)
{
	struct spare_meter_role *known = bpf_map_lookup_elem(&roles, &pid);

	return known && known->start_ns == start_ns ? known->role : SPARE_ROLE_NONE;
}

static __always_inline u32 vm_of_process(u32 process)
{
	u32 *vm = bpf_map_lookup_elem(&processes, &process);

	return vm ? *vm : 0;
}

/*
 * The nearest cgroup above that is a VM. Tenants may make cgroups below theirs as deep as they like, and this runs in a switch: only so many levels
 * from the root on can be VMs.
 */
static __always_inline u32 vm_of_cgroup(struct task_struct *p)
{
	struct cgroup *cgroup = BPF_CORE_READ(p, cgroups, dfl_cgrp), *above;
	u64 first = (u64)cgroup + bpf_core_field_offset(struct cgroup, ancestors);
	u32 level = BPF_CORE_READ(cgroup, level), i;

	if (level >= SPARE_METER_LEVELS)
		level = SPARE_METER_LEVELS - 1;
	for (i = 0; i < SPARE_METER_LEVELS && i < level; i++) {
		u64 id;
		u32 *vm;

		if (bpf_probe_read_kernel(&above, sizeof(above), (void *)(first + (level - i) * sizeof(above))))
			break;
		id = BPF_CORE_READ(above, kn, id);
		vm = bpf_map_lookup_elem(&cgroups, &id);
		if (vm)
			return *vm;
	}
	return 0;
}

static __always_inline bool begins(const char *text, const char *with, int length)
{
	int i;

	for (i = 0; i < length; i++) {
		if (text[i] != with[i])
			return false;
	}
	return true;
}

/* The VM of the process whose id follows `with` in a kernel thread's name. */
static __always_inline u32 vm_by_name(const char *comm, const char *with, int length)
{
	u32 process = 0;
	int i;

	if (!begins(comm, with, length))
		return 0;
	for (i = length; i < 16; i++) {
		if (comm[i] < '0' || comm[i] > '9')
			break;
		process = process * 10 + (comm[i] - '0');
	}
	return vm_of_process(process);
}

static __always_inline u32 kind_of(u32 flags, u32 role)
{
	if (role == SPARE_ROLE_VHOST)
		return SPARE_KIND_VHOST;
	if (flags & (PF_KTHREAD | PF_USER_WORKER))
		return SPARE_KIND_KTHREAD;
	if (role == SPARE_ROLE_VCPU)
		return SPARE_KIND_VCPU;
	return role == SPARE_ROLE_IOTHREAD ? SPARE_KIND_IOTHREAD : SPARE_KIND_EMULATOR;
}

/* May it be a vhost worker? Only what it does tells; this says when to look. */
static __always_inline bool may_be_vhost(u32 flags, const char *comm)
{
	if (flags & PF_KTHREAD)
		return begins(comm, COMM_VHOST, sizeof(COMM_VHOST) - 1);
	return (flags & PF_USER_WORKER) && !(flags & PF_IO_WORKER);
}

/*
 * What is not known of a thread yet, or no longer. Before 6.4 a vhost worker is a kernel thread, in the cgroup of its process, which may be
 * the root; the thread of a guest's PIT always is in the root. Both carry the process's id in their names.
 */
static __noinline u32 classify(struct task_struct *p, struct spare_meter_thread *known)
{
	u32 flags = BPF_CORE_READ(p, flags), role = role_of(p->pid, p->start_time), vm;
	char comm[16] = {};

	vm = flags & PF_KTHREAD ? 0 : vm_of_process(BPF_CORE_READ(p, tgid));
	if (!vm)
		vm = vm_of_cgroup(p);
	if (flags & (PF_KTHREAD | PF_USER_WORKER)) {
		BPF_CORE_READ_STR_INTO(&comm, p, comm);
		if (role == SPARE_ROLE_NONE && may_be_vhost(flags, comm)) {
			meter_worker_ns = bpf_ktime_get_ns();
			known->start_ns = 0;	/* and again at its next switch */
		}
		/* (The names of a tenant's own threads, io_uring's, are the tenant's.) */
		if (!vm && flags & PF_KTHREAD)
			vm = vm_by_name(comm, COMM_PIT, sizeof(COMM_PIT) - 1) ?: vm_by_name(comm, COMM_VHOST, sizeof(COMM_VHOST) - 1);
	}
	if (vm)
		return spare_account(vm, kind_of(flags, role));
	return spare_account(0, begins(comm, COMM_NAPI, sizeof(COMM_NAPI) - 1) ? SPARE_HOST_NET : SPARE_HOST_TASK);
}

static __always_inline struct spare_meter_thread *place_of(u32 pid)
{
	u32 at = pid & (SPARE_METER_THREADS - 1);

	return bpf_map_lookup_elem(&threads, &at);
}

static __always_inline u32 account_of(struct task_struct *p)
{
	u64 start_ns = p->start_time, css_set = (u64)p->cgroups;
	struct spare_meter_thread *known;
	u32 pid = p->pid, account, policy;

	if (!pid)
		return spare_account(0, SPARE_HOST_IDLE);
	known = place_of(pid);
	if (!known)
		return spare_account(0, SPARE_HOST_TASK);
	account = known->account;
	if (known->start_ns != start_ns || known->css_set != css_set || known->gen != meter_gen) {
		known->gen = meter_gen;
		known->css_set = css_set;
		known->start_ns = start_ns;
		account = classify(p, known);
		known->account = account;
	}
	if (account == spare_account(0, SPARE_HOST_TASK)) {
		policy = p->policy;
		if (policy == SCHED_DEADLINE)
			return spare_account(0, SPARE_HOST_DEADLINE);
		if (policy == SCHED_FIFO || policy == SCHED_RR)
			return spare_account(0, SPARE_HOST_REALTIME);
	}
	return account;
}

/* The current thread does this. It counts from its next switch on. */
static __always_inline void learn(struct task_struct *p, u32 role)
{
	struct spare_meter_role seen = { .start_ns = p->start_time, .role = role };
	struct spare_meter_thread *known;
	u32 pid = p->pid, was = role_of(pid, seen.start_ns);

	if (was == role || was == SPARE_ROLE_VCPU)
		return;
	bpf_map_update_elem(&roles, &pid, &seen, BPF_ANY);
	known = place_of(pid);
	if (known)
		known->start_ns = 0;
}

static __always_inline void announce(struct task_struct *p)
{
	u32 process = p->flags & PF_KTHREAD ? 0 : p->tgid, key = process ?: p->pid, one = 1;
	struct spare_meter_found what = { .process = process, .thread = p->pid };

	if (bpf_map_lookup_elem(&announced, &key))
		return;
	what.cgroup = BPF_CORE_READ(p, cgroups, dfl_cgrp, kn, id);
	if (!bpf_ringbuf_output(&found, &what, sizeof(what), 0))
		bpf_map_update_elem(&announced, &key, &one, BPF_ANY);
}

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

/* Does a tap's receiving side (its VM's sending) hand packets to other CPUs? */
static __noinline u32 steers(struct net_device *dev)
{
	struct netdev_rx_queue *queue = BPF_CORE_READ(dev, _rx);
	u32 n = BPF_CORE_READ(dev, real_num_rx_queues), i;

	if (!bpf_core_field_exists(queue->rps_map))
		return 0;
	for (i = 0; i < RX_QUEUES && i < n; i++) {
		if (BPF_CORE_READ(queue + i, rps_map))
			return 1;
	}
	return 0;
}

/* What is known of a device of that address is true until meter_gen changes. */
static __noinline u32 look_up_device(struct spare_meter_cpu *c, struct net_device *dev)
{
	struct spare_meter_device *known;
	struct spare_meter_tap key = {};
	u64 address;
	u32 *vm;

	/* Through memory: the verifier shifts no pointers. */
	c->last.gen = meter_gen - 1;
	*(volatile u64 *)&c->last.device = (u64)dev;
	address = *(volatile u64 *)&c->last.device;
	known = &c->device[(address >> 12 ^ address >> 18) & (SPARE_METER_DEVICES - 1)];
	if (known->device != address || known->gen != meter_gen) {
		key.ifindex = BPF_CORE_READ(dev, ifindex);
		key.netns = BPF_CORE_READ(dev, nd_net.net, ns.inum);
		known->gen = meter_gen;
		vm = bpf_map_lookup_elem(&taps, &key);
		known->vm = vm ? *vm : 0;
		known->device = address;
		if (vm && steers(dev))
			meter_steers = 1;
	}
	c->last = *known;
	return known->vm;
}

/* Mostly it is the last one. */
static __always_inline u32 vm_of_device(struct spare_meter_cpu *c, struct net_device *dev)
{
	if (c->last.device == (u64)dev && c->last.gen == meter_gen)
		return c->last.vm;
	return look_up_device(c, dev);
}

/* Only where a VM's own packets are served in softirqs (meter_steers): elsewhere it is enough to know who has had a packet. */
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

	if (!c || !spare_bill_serves(&c->bill))
		return 0;
	if (rc != NETDEV_TX_BUSY)
		somebody_had(c, vm_of_device(c, dev));
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
