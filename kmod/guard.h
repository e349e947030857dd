/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the programs at taps ask about a VM's limit of network work (GUARD-1).
 */
#ifndef KMOD_GUARD_H
#define KMOD_GUARD_H

#include <linux/types.h>

struct __sk_buff;
struct seq_file;
struct spare_reservation;
struct spare_vm_kern;

u64 spare_guard_of(struct __sk_buff *packet);
bool spare_guard_asks(struct __sk_buff *packet, u32 direction, u64 total_ns);
bool spare_guard_drops(struct __sk_buff *packet, u32 direction, u32 needed);

void spare_guard_set(struct spare_vm_kern *vm, const struct spare_reservation *max);
void spare_guard_show(struct spare_vm_kern *vm, struct seq_file *m);
void spare_guard_show_stat(struct spare_vm_kern *vm, struct seq_file *m);

int __must_check spare_guard_init(void);

#endif /* KMOD_GUARD_H */
