/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Whether a scheduling class is attached.
 */
#ifndef KMOD_CLASS_H
#define KMOD_CLASS_H

#include <linux/types.h>

bool spare_class_attached(void);
bool __must_check spare_class_begin(void);
bool __must_check spare_class_end(void);

#endif /* KMOD_CLASS_H */
