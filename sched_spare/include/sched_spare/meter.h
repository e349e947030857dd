/* SPDX-License-Identifier: GPL-2.0 */
/*
 * meter.h - what the meter's BPF programs (bpf/meter.bpf.c) and user space share: layouts of its maps. Both come from one build: what another
 * one has pinned is replaced (spare_meter_shared.build).
 */
#ifndef SCHED_SPARE_METER_H
#define SCHED_SPARE_METER_H

#include "abi.h"

/* bill.h says spare_bill_add() before its use; who only reads has none. */
#ifdef SPARE_METER_READER
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-function"
#pragma GCC diagnostic ignored "-Wunused-parameter"
#endif
#include "bill.h"

enum spare_meter_limit {
	SPARE_METER_VMS = 1024,		/* rows of each CPU; row 0 is the host's */
	SPARE_METER_GONE = SPARE_METER_VMS - 1,	/* the row of all VMs that are no more: user space's */
	SPARE_METER_THREADS = 65536,	/* places for what is known of threads, a power of two */
	SPARE_METER_LEVELS = 32,	/* of cgroups, the root's included, that may be VMs */
	SPARE_METER_ANNOUNCED = 4 * SPARE_METER_VMS,
	SPARE_METER_DEVICES = 256,	/* places for what is known of network devices, of each CPU, a power of two */
};

/* What a VM, or the host, has had of one CPU. Only that CPU writes. */
struct spare_meter_row {
	__u64 ns[SPARE_KINDS];
	__u64 packets[2];	/* to it, from it, in softirq */
	__u32 batches[2];	/* softirqs that had some, runs of its vhost workers; they wrap */
};

/* Whose tap a network device is, at a place that its address gives. */
struct spare_meter_device {
	__u64 device;
	__u32 vm;
	__u32 gen;
};

struct spare_meter_cpu {
	struct spare_bill bill;
	__u64 started_ns;	/* on the clock without interrupts; 0: not yet */
	__u64 rows;		/* where its rows begin */
	struct spare_meter_device last;	/* that was asked for */
	struct spare_meter_device device[SPARE_METER_DEVICES];
};

/* Whose tap: key and value of the map taps. */
struct spare_meter_tap {
	__u32 ifindex;
	__u32 netns;		/* inode number of its network namespace */
};

/* One of it, in memory that both sides have. */
struct spare_meter_shared {
	__u32 gen;		/* user space raises it when VMs come or go: what is known of threads and devices is looked up anew */
	__u32 steers;		/* the programs: there is a VM's tap whose packets may be served in softirqs (RPS) */
	__u64 worker_ns;	/* the programs: when a thread ran last that may be a vhost worker and has not shown it yet */
	__u64 build;		/* which build of the programs this is */
	__u32 epoch;		/* by chance: another one has other counters */
	__u32 table;		/* user space: generation of the table of VMs, odd while that and rows change */
};

/* What a thread has been seen to do. The last one counts, but a vCPU stays one. */
enum spare_role {
	SPARE_ROLE_NONE,
	SPARE_ROLE_VCPU,
	SPARE_ROLE_VHOST,
	SPARE_ROLE_IOTHREAD,
};

/* key: thread id */
struct spare_meter_role {
	__u64 start_ns;		/* which thread of this id */
	__u32 role;
};

/* What a switch to a thread needs, at its id modulo SPARE_METER_THREADS. It is true while nothing in it has changed. */
struct spare_meter_thread {
	__u64 start_ns;
	__u64 css_set;		/* its cgroups, by the address of what the kernel keeps them in */
	__u32 account;
	__u32 gen;
};

/* To user space: this process has vCPUs or vhost workers, and belongs to no VM that is known. */
struct spare_meter_found {
	__u64 cgroup;
	__u32 process;		/* 0: a kernel thread, told by its cgroup alone */
	__u32 thread;
};

#ifdef SPARE_METER_READER
static void spare_bill_add(struct spare_bill *, __u32, __u64, __u32) {}
#pragma GCC diagnostic pop
#endif

#endif /* SCHED_SPARE_METER_H */
