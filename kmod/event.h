/* SPDX-License-Identifier: GPL-2.0 */
/*
 * spare.events: counters, and telling those who poll.
 */
#ifndef KMOD_EVENT_H
#define KMOD_EVENT_H

#include <sched_spare/abi.h>

struct spare_vm_kern;

void spare_event(struct spare_vm_kern *vm, enum spare_event ev);
void spare_event_notify(struct spare_vm_kern *vm);
void spare_event_exit(void);

#endif /* KMOD_EVENT_H */
