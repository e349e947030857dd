/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Real-time and deadline threads of VMs (CBS-11), and what goes before the class's threads (ACC-2).
 */
#ifndef KMOD_REALTIME_H
#define KMOD_REALTIME_H

#include <linux/types.h>

struct task_struct;

void spare_realtime_attach(void);
void spare_realtime_change(struct task_struct *p, bool goes);
u64 spare_realtime_above(s32 cpu, u64 now_ns);

int __must_check spare_realtime_init(void);
void spare_realtime_exit(void);

#endif /* KMOD_REALTIME_H */
