// SPDX-License-Identifier: GPL-2.0
/*
 * Another sched_ext scheduler, the smallest there is: all tasks first come, first served. The tests load it to see what
 * spared says when it is not alone (LIFE-5):  bpftool struct_ops register other.bpf.o DIRECTORY-IN-BPFFS
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

char _license[] SEC("license") = "GPL";

SEC("struct_ops/enqueue")
int BPF_PROG(other_enqueue, struct task_struct *p, u64 enq_flags)
{
	scx_bpf_dsq_insert(p, SCX_DSQ_GLOBAL, SCX_SLICE_DFL, enq_flags);
	return 0;
}

SEC(".struct_ops.link")
struct sched_ext_ops other_ops = {
	.enqueue = (void *)other_enqueue,
	.name = "other",
};
