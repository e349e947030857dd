/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Sending a CPU through the scheduler.
 */
#ifndef KMOD_KICK_H
#define KMOD_KICK_H

bool spare_kick_current(void);
bool spare_kick_leaving(void);
void spare_kick_cpu(int cpu);
void spare_kick_online(void);

int __must_check spare_kick_init(void);
void spare_kick_exit(void);

#endif /* KMOD_KICK_H */
