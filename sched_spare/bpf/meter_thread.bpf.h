/* SPDX-License-Identifier: GPL-2.0 */
/* meter_thread.bpf.h - whose a thread is, and what it is (meter.bpf.c, 2 and 3). */
#ifndef SPARE_METER_THREAD_BPF_H
#define SPARE_METER_THREAD_BPF_H

#include "meter.bpf.h"

/* include/linux/sched.h */
#define PF_IO_WORKER	0x00000010
#define PF_USER_WORKER	0x00004000
#define PF_KTHREAD	0x00200000
#define SCHED_FIFO	1
#define SCHED_RR	2
#define SCHED_DEADLINE	6
#define COMM_PIT	"kvm-pit/"
#define COMM_VHOST	"vhost-"
#define COMM_NAPI	"napi/"

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

/* VMs by process, and by cgroup (id). */
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
 * the root; the thread of a guest's PIT always is in the root. Both carry the process's id in their names: as its maker's PID namespace has it, so
 * the bill may be wrong by that, and nothing is charged for it (spare_bill_add).
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
			meter.worker_ns = bpf_ktime_get_ns();
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
	if (known->start_ns != start_ns || known->css_set != css_set || known->gen != meter.gen) {
		known->gen = meter.gen;
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

#endif
