/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What a VM has cost outside its servers, shared among them (DEBT-1, debt.h).
 */
#ifndef KMOD_DEBT_H
#define KMOD_DEBT_H

#include <linux/types.h>

struct spare_server_kern;
struct spare_vm_kern;

/* What of it is paid or waived, the servers' statistics say. */
struct spare_debt_sum {
	u64 charged_ns, owed_ns;
};

u64 spare_debt_part(struct spare_server_kern *srv, const u64 *total);
struct spare_debt_sum spare_debt_sum(struct spare_vm_kern *vm);

#endif /* KMOD_DEBT_H */
