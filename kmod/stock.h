/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The queues that the class has for servers.
 */
#ifndef KMOD_STOCK_H
#define KMOD_STOCK_H

#include <linux/types.h>

bool spare_stock_suffices(unsigned int servers);
void spare_stock_make(void);
u32 spare_stock_wanted(void);
void spare_stock_made(u32 queues);
void spare_stock_reset(void);
void spare_stock_exit(void);

#endif /* KMOD_STOCK_H */
