// SPDX-License-Identifier: GPL-2.0
/* Another scheduler that calls the module's functions: the verifier is to refuse it. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

char _license[] SEC("license") = "GPL";

extern void spare_kick(s32 cpu) __ksym;

SEC("struct_ops/enqueue")
int BPF_PROG(intruder_enqueue, struct task_struct *p, u64 enq_flags)
{
	spare_kick(0);
	scx_bpf_dsq_insert(p, SCX_DSQ_GLOBAL, SCX_SLICE_DFL, enq_flags);
	return 0;
}

SEC(".struct_ops.link")
struct sched_ext_ops intruder_ops = {
	.enqueue = (void *)intruder_enqueue,
	.name = "intruder",
};
