/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Real-time and deadline threads of VMs (CBS-11).
 */
#ifndef KMOD_REALTIME_H
#define KMOD_REALTIME_H

int __must_check spare_realtime_init(void);
void spare_realtime_exit(void);

#endif /* KMOD_REALTIME_H */
