/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The texts of spare.stat and spare.events.
 */
#ifndef KMOD_STAT_H
#define KMOD_STAT_H

struct seq_file;
struct spare_vm_kern;

void spare_stat_show(struct spare_vm_kern *vm, struct seq_file *m);
void spare_stat_show_events(struct spare_vm_kern *vm, struct seq_file *m);

#endif /* KMOD_STAT_H */
