/* SPDX-License-Identifier: GPL-2.0 */
/*
 * kfuncs.bpf.h - what the class calls: sched_ext's kfuncs and those of sched_spare.ko (kmod/kfuncs.c documents them).
 *
 * sched_ext's hidden last argument (KF_IMPLICIT_ARGS) is not declared: a kernel whose BTF is whole supplies it. What comes in
 * two forms is in compat.bpf.h. kfuncs.txt lists both; the start-up probe (LIFE-5) and the harness read it.
 */
#ifndef SPARE_KFUNCS_BPF_H
#define SPARE_KFUNCS_BPF_H

#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

/* kernel/sched/ext */
extern s32 scx_bpf_create_dsq(u64 dsq_id, s32 node) __ksym;
extern bool scx_bpf_dsq_move_vtime(struct bpf_iter_scx_dsq *it, struct task_struct *p, u64 dsq_id, u64 enq_flags) __ksym;
extern bool scx_bpf_dsq_move(struct bpf_iter_scx_dsq *it, struct task_struct *p, u64 dsq_id, u64 enq_flags) __ksym;
extern void scx_bpf_dsq_move_set_slice(struct bpf_iter_scx_dsq *it, u64 slice) __ksym;
extern void scx_bpf_dsq_move_set_vtime(struct bpf_iter_scx_dsq *it, u64 vtime) __ksym;
extern s32 scx_bpf_dsq_nr_queued(u64 dsq_id) __ksym;
extern struct task_struct *scx_bpf_dsq_peek(u64 dsq_id) __ksym;
extern bool scx_bpf_task_set_slice(struct task_struct *p, u64 slice) __ksym;
extern bool scx_bpf_task_set_dsq_vtime(struct task_struct *p, u64 vtime) __ksym;
extern s32 scx_bpf_task_cpu(const struct task_struct *p) __ksym;
extern s32 scx_bpf_select_cpu_dfl(struct task_struct *p, s32 prev_cpu, u64 wake_flags, bool *is_idle) __ksym;
extern bool scx_bpf_test_and_clear_cpu_idle(s32 cpu) __ksym;
extern s32 scx_bpf_pick_idle_cpu(const struct cpumask *cpus_allowed, u64 flags) __ksym;
extern u32 scx_bpf_nr_cpu_ids(void) __ksym;
extern u64 scx_bpf_now(void) __ksym;
extern void scx_bpf_error_bstr(char *fmt, unsigned long long *data, u32 data__sz) __ksym;
extern void scx_bpf_dump_bstr(char *fmt, unsigned long long *data, u32 data__sz) __ksym;
extern const struct cpumask *scx_bpf_get_online_cpumask(void) __ksym;
extern void scx_bpf_put_cpumask(const struct cpumask *cpumask) __ksym;
extern int bpf_iter_scx_dsq_new(struct bpf_iter_scx_dsq *it, u64 dsq_id, u64 flags) __ksym;
extern struct task_struct *bpf_iter_scx_dsq_next(struct bpf_iter_scx_dsq *it) __ksym;
extern void bpf_iter_scx_dsq_destroy(struct bpf_iter_scx_dsq *it) __ksym;

/* kernel/bpf */
extern bool bpf_cpumask_test_cpu(u32 cpu, const struct cpumask *cpumask) __ksym;
extern void bpf_rcu_read_lock(void) __ksym;
extern void bpf_rcu_read_unlock(void) __ksym;
extern int bpf_iter_num_new(struct bpf_iter_num *it, int start, int end) __ksym;
extern int *bpf_iter_num_next(struct bpf_iter_num *it) __ksym;
extern void bpf_iter_num_destroy(struct bpf_iter_num *it) __ksym;

/* kmod/kfuncs.c. The memory ones return NULL when there is nothing; what they return stays valid during the callback. */
extern int *spare_task_vm(struct task_struct *p, const int rdwr_buf_size) __ksym;
extern u32 spare_task_slot(struct task_struct *p, s32 cpu) __ksym;
extern bool spare_task_receives(struct task_struct *p) __ksym;
extern void spare_task_changes(struct task_struct *p, bool goes) __ksym;
extern u64 spare_above_ns(s32 cpu, u64 now_ns) __ksym;
extern u32 spare_vm_slot(s32 cpu, u32 slot, s32 other_cpu) __ksym;
extern s32 spare_task_next_cpu(struct task_struct *p, u32 from) __ksym;
extern s32 spare_vm_next_cpu(s32 cpu, u32 slot, u32 from) __ksym;
extern void spare_cpu_deadline(s32 cpu, u32 ppm) __ksym;
extern int *spare_server_get(s32 cpu, u32 slot, const int rdwr_buf_size) __ksym;
extern u64 spare_server_cost(s32 cpu, u32 slot, const u64 *total__nullable) __ksym;
extern int *spare_server_vm(s32 cpu, u32 slot, const int rdwr_buf_size) __ksym;
extern void spare_timer_arm(s32 cpu, u64 when_ns, u64 end_ns) __ksym;
extern void spare_kick(s32 cpu) __ksym;
extern void spare_attend(s32 cpu, u32 slot) __ksym;
extern u32 spare_attention(s32 cpu) __ksym;
extern void spare_notify(s32 cpu, u32 slot) __ksym;
extern void spare_trace(s32 cpu, u32 slot, u32 what, u32 provider) __ksym;
extern void spare_server_release(s32 cpu, u32 slot) __ksym;
extern u32 spare_queues_wanted(void) __ksym;
extern void spare_queues_made(u32 made) __ksym;
extern int spare_class_attach(u32 abi) __ksym;
extern void spare_class_detach(void) __ksym;

/* of each CPU */
extern const struct rq runqueues __ksym;

#endif
