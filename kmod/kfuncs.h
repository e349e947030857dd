/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What BPF programs may call.
 */
#ifndef KMOD_KFUNCS_H
#define KMOD_KFUNCS_H

#include <linux/types.h>

struct task_struct;

int *spare_task_vm(struct task_struct *p__ign, const int rdwr_buf_size);
bool spare_task_receives(struct task_struct *p__ign);
void spare_task_changes(struct task_struct *p__ign, bool goes);
u64 spare_above_ns(s32 cpu, u64 now_ns);
u32 spare_task_slot(struct task_struct *p__ign, s32 cpu);
int *spare_server_get(s32 cpu, u32 slot, const int rdwr_buf_size);
int *spare_server_vm(s32 cpu, u32 slot, const int rdwr_buf_size);
u64 spare_server_cost(s32 cpu, u32 slot, const u64 *total__nullable);
u32 spare_vm_slot(s32 cpu, u32 slot, s32 other_cpu);
s32 spare_task_next_cpu(struct task_struct *p__ign, u32 from);
s32 spare_vm_next_cpu(s32 cpu, u32 slot, u32 from);
void spare_cpu_deadline(s32 cpu, u32 ppm);
void spare_timer_arm(s32 cpu, u64 when_ns, u64 end_ns);
void spare_kick(s32 cpu);
void spare_attend(s32 cpu, u32 slot);
u32 spare_attention(s32 cpu);
void spare_notify(s32 cpu, u32 slot);
void spare_trace(s32 cpu, u32 slot, u32 what, u32 provider);
void spare_server_release(s32 cpu, u32 slot);
u32 spare_queues_wanted(void);
void spare_queues_made(u32 made);
int spare_class_attach(u32 abi);
void spare_class_detach(void);

int __must_check spare_kfuncs_init(void);

#endif /* KMOD_KFUNCS_H */
