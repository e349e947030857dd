/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Taps: which VM a packet is for (SPARE-2, SPARE-9).
 */
#ifndef KMOD_HOOK_H
#define KMOD_HOOK_H

struct seq_file;
struct task_struct;
struct vm;

void spare_hook_arm(void);
int __must_check spare_hook_set(struct vm *vm, char *text);
void spare_hook_show(struct vm *vm, struct seq_file *m);
void spare_hook_show_packets(struct vm *vm, struct seq_file *m);
bool spare_hook_wakes(struct task_struct *p);
void spare_hook_unbind_all(struct vm *vm);

int __must_check spare_hook_init(void);
void spare_hook_exit(void);

#endif /* KMOD_HOOK_H */
