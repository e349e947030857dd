/* SPDX-License-Identifier: GPL-2.0 */
/*
 * vmlinux.h - what the class reads of the kernel, for C and C++: the same names, no more fields than are read, in no particular layout.
 * The model (kernel.hpp) derives from these.
 */
#ifndef __VMLINUX_H__
#define __VMLINUX_H__

typedef unsigned char __u8, u8;
typedef unsigned short __u16, u16;
typedef unsigned int __u32, u32;
typedef unsigned long long __u64, u64;
typedef signed char __s8, s8;
typedef short __s16, s16;
typedef int __s32, s32;
typedef long long __s64, s64;
#ifndef __cplusplus
#include <stdbool.h>
#endif
#ifndef NULL
#define NULL ((void *)0)
#endif

#define SCX_DSQ_LOCAL		(1ULL << 63 | 2)
#define SCX_DSQ_LOCAL_ON	(1ULL << 63 | 1ULL << 62)
#define SCX_TASK_QUEUED		1U
#define SCX_ENQ_WAKEUP		1ULL
#define SCX_ENQ_PREEMPT		(1ULL << 32)
#define SCX_ENQ_LAST		(1ULL << 41)
#define SCX_OPS_KEEP_BUILTIN_IDLE	(1ULL << 0)
#define SCX_OPS_ENQ_LAST		(1ULL << 1)
#define SCX_OPS_ENQ_EXITING		(1ULL << 2)
#define SCX_OPS_ENQ_MIGRATION_DISABLED	(1ULL << 4)

enum { BPF_MAP_TYPE_HASH = 1, BPF_MAP_TYPE_ARRAY = 2, BPF_MAP_TYPE_STACK = 23, BPF_MAP_TYPE_TASK_STORAGE = 29 };
enum { BPF_F_NO_PREALLOC = 1, BPF_NOEXIST = 1, BPF_LOCAL_STORAGE_GET_F_CREATE = 1 };

struct cpumask {
	u64 bits;	/* the model has at most 64 CPUs */
};

struct cgroup_subsys_state {
	int id;
	u64 serial_nr;
};

/* (What not every kernel has stands first in its structure, as the class's own declarations have it: compat.bpf.h.) */
struct scx_task_group {
	bool sched_idle;
	u32 weight;
	u64 bw_period_us, bw_quota_us, bw_burst_us;
};

struct task_group {
	struct cgroup_subsys_state css;
	struct task_group *parent;
	struct scx_task_group scx;
};

struct thread_info {
	u32 cpu;
};

struct sched_entity {
	u64 exec_start, sum_exec_runtime;
};

struct sched_ext_entity {
	u32 flags, weight;
	u64 slice, dsq_vtime;
	unsigned long runnable_at;
};

struct task_struct {
	struct thread_info thread_info;
	unsigned int __state, flags;
	int prio, nr_cpus_allowed, pid, on_cpu;
	const struct cpumask *cpus_ptr;
	unsigned short migration_disabled;
	struct sched_entity se;
	struct sched_ext_entity scx;
	struct task_group *sched_task_group;
	char comm[16];
	void *storage;	/* bpf_task_storage_get() */
};

struct dl_bw {
	u64 total_bw;
};

struct root_domain {
	struct dl_bw dl_bw;
};

struct sched_dl_entity {
	unsigned int dl_bw_attached : 1;
	u64 dl_bw;
};

struct rq {
	struct sched_dl_entity ext_server;
	u64 clock_task;
	struct task_struct *curr;
	int online;
	struct root_domain *rd;
	struct sched_dl_entity fair_server;
};

struct cgroup;
struct scx_dump_ctx;
struct scx_init_task_args;

struct scx_exit_info {
	s32 kind;
	s64 exit_code;
	const char *reason, *msg, *dump;
};

struct bpf_iter_num {
	int unused;
};

struct bpf_iter_scx_dsq {
	struct dsq *dsq;
	void *cursor;
	u64 seq, slice, vtime;
	bool has_slice, has_vtime;
};

struct sched_ext_ops {
	s32 (*select_cpu)(struct task_struct *p, s32 prev_cpu, u64 wake_flags);
	void (*enqueue)(struct task_struct *p, u64 enq_flags);
	void (*dispatch)(s32 cpu, struct task_struct *prev);
	void (*running)(struct task_struct *p);
	void (*update_idle)(s32 cpu, bool idle);
	void (*tick)(struct task_struct *p);
	void (*stopping)(struct task_struct *p, bool runnable);
	bool (*core_sched_before)(struct task_struct *a, struct task_struct *b);
	void (*cpu_online)(s32 cpu);
	void (*cpu_offline)(s32 cpu);
	s32 (*init_task)(struct task_struct *p, struct scx_init_task_args *args);
	void (*enable)(struct task_struct *p);
	void (*disable)(struct task_struct *p);
	void (*set_cpumask)(struct task_struct *p, const struct cpumask *cpumask);
	void (*cgroup_move)(struct task_struct *p, struct cgroup *from, struct cgroup *to);
	s32 (*init)(void);
	void (*dump_cpu)(struct scx_dump_ctx *dctx, s32 cpu, bool idle);
	void (*exit)(struct scx_exit_info *ei);
	u64 flags;
	u32 timeout_ms;
	const char *name;
};

#endif
