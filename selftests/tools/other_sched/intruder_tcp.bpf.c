// SPDX-License-Identifier: GPL-2.0
/* A congestion control that takes a number for a task and asks the module about it: the verifier is to refuse it. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

char _license[] SEC("license") = "GPL";

extern u32 spare_task_slot(struct task_struct *p, s32 cpu) __ksym;

SEC("struct_ops/ssthresh")
u32 BPF_PROG(spare_ssthresh, struct sock *sk)
{
	return spare_task_slot((struct task_struct *)0x4141414141414141, 0);
}

SEC("struct_ops/undo_cwnd")
u32 BPF_PROG(intruder_undo_cwnd, struct sock *sk)
{
	return 2;
}

SEC("struct_ops/cong_avoid")
void BPF_PROG(intruder_cong_avoid, struct sock *sk, u32 ack, u32 acked)
{
}

SEC(".struct_ops.link")
struct tcp_congestion_ops intruder_tcp = {
	.ssthresh = (void *)spare_ssthresh,
	.undo_cwnd = (void *)intruder_undo_cwnd,
	.cong_avoid = (void *)intruder_cong_avoid,
	.name = "intruder",
};
