/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Sending a CPU through the scheduler.
 */
#ifndef KMOD_KICK_H
#define KMOD_KICK_H

#include <linux/smp.h>

/* An interrupt for a CPU; while one is on its way further ones have nothing to add. */
struct spare_ipi {
	call_single_data_t csd;
	atomic_t pending;	/* sent and not yet handled */
};

void spare_ipi_init(struct spare_ipi *ipi, smp_call_func_t handler, void *info);
void spare_ipi_send(struct spare_ipi *ipi, int cpu);
void spare_ipi_handled(struct spare_ipi *ipi);
void spare_ipi_wait(struct spare_ipi *ipi, int cpu);

bool spare_kick_current(void);
bool spare_kick_leaving(void);
void spare_kick_cpu(int cpu);
void spare_kick_online(void);
#ifdef CONFIG_SCHED_CORE
void spare_kick_dispatches(int cpu);
#else
static inline void spare_kick_dispatches(int cpu)
{
}
#endif

int __must_check spare_kick_init(void);
void spare_kick_exit(void);

#endif /* KMOD_KICK_H */
