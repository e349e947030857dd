/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Admission (CBS-6).
 */
#ifndef KMOD_ADMISSION_H
#define KMOD_ADMISSION_H

#include <sched_spare/parse.h>

struct seq_file;
struct spare_vm_kern;

int __must_check spare_admission_check(struct spare_vm_kern *vm, const unsigned long *cpus, const struct spare_reservation *res);
void spare_admission_show(struct seq_file *m);

#endif /* KMOD_ADMISSION_H */
