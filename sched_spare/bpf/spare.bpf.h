/* SPDX-License-Identifier: GPL-2.0 */
/* spare.bpf.h - constants and the few BPF macros that the class needs. */
#ifndef SPARE_BPF_H
#define SPARE_BPF_H

#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include <bpf/bpf_core_read.h>
#include "kfuncs.bpf.h"

#define BPF_STRUCT_OPS(name, args...) \
SEC("struct_ops/" #name) BPF_PROG(name, ##args)
#define BPF_STRUCT_OPS_SLEEPABLE(name, args...) \
SEC("struct_ops.s/" #name) BPF_PROG(name, ##args)
#define BPF_FOR_EACH_ITER (&___it)

#define bpf_bstr(call, format, args...)			\
	({						\
		static char fmt_[] = format;		\
		unsigned long long args_[] = { args };	\
							\
		call(fmt_, args_, sizeof(args_));	\
	})
/* A state that cannot be ends the class, by name (CBS-12). */
#define class_error(format, args...) bpf_bstr(scx_bpf_error_bstr, format, args)
#define dump_line(format, args...) bpf_bstr(scx_bpf_dump_bstr, format, args)

/* A variable that the class writes. The simulator has one for each of its threads. */
#ifndef CLASS_VAR
#define CLASS_VAR
#endif

#define barrier() asm volatile("" ::: "memory")
#define PF_KTHREAD 0x00200000
#define PF_NO_SETAFFINITY 0x04000000
#define MAX_RT_PRIO 100
#define ENOENT 2
#define ENOMEM 12
#define E2BIG 7

enum spare_class_const : __u64 {
	SPARE_DSQ_HOST		= 1ULL << 40,		/* | cpu: host tasks, by virtual time */
	SPARE_DSQ_SERVER	= 1ULL << 41,		/* | serial number: a server's runnable threads (queue.bpf.h) */
	SPARE_DSQ_KTHREAD	= 1ULL << 42,		/* | cpu: per-CPU kernel threads that were preempted */
	SPARE_DSQ_PARK		= 1ULL << 43,		/* | cpu: host tasks whose cgroup has used its cpu.max */
	SPARE_DSQ_GUARD		= 1ULL << 44,		/* | cpu: vhost workers of VMs whose network work has used its spare.net.max, by when they go on */
	SPARE_SLICE_NS		= 20ULL * 1000000,	/* never reached: budget, turn or grant end first */
	SPARE_OVERRUN_EVENT_NS	= 100000ULL,
};

#endif
