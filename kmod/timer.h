/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The timer that ends a budget.
 */
#ifndef KMOD_TIMER_H
#define KMOD_TIMER_H

#include <linux/types.h>

void spare_timer_set(unsigned int cpu, u64 when_ns, u64 end_ns);
void spare_timer_answered(unsigned int cpu);
void spare_timer_stop(unsigned int cpu);

int __must_check spare_timer_init(void);
void spare_timer_exit(void);

#endif /* KMOD_TIMER_H */
