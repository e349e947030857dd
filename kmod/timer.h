/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The timer that ends a budget.
 */
#ifndef KMOD_TIMER_H
#define KMOD_TIMER_H

#include <linux/percpu.h>
#include <linux/types.h>

DECLARE_PER_CPU(bool, spare_timer_unanswered);

/**
 * spare_timer_answered - ops.dispatch looks at what is due
 * @cpu: where
 *
 * (Unless it arms the timer anew, too, that goes on ever later: a pinned kernel thread is let run on.)
 *
 * Context: under the run-queue lock of @cpu.
 */
static inline void spare_timer_answered(unsigned int cpu)
{
	per_cpu(spare_timer_unanswered, cpu) = false;
}

void spare_timer_set(unsigned int cpu, u64 when_ns, u64 end_ns);
void spare_timer_stop(unsigned int cpu);

int __must_check spare_timer_init(void);
void spare_timer_exit(void);

#endif /* KMOD_TIMER_H */
