/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The text of spare.use.
 */
#ifndef KMOD_USE_TEXT_H
#define KMOD_USE_TEXT_H

#include "use.h"

struct seq_file;

int __must_check spare_use_text_parse(char *text, enum spare_use_who *who, struct list_head *uses);
int spare_use_text_show(struct spare_vm_kern *vm, struct seq_file *m);

#endif /* KMOD_USE_TEXT_H */
