/* SPDX-License-Identifier: GPL-2.0 */
/*
 * debt.bpf.h - a server pays its part of what its VM has cost elsewhere when a period of it begins (DEBT-1).
 *
 * Nothing of this is asked in a switch, nor for a packet: one look into a map for each replenishment, and one kfunc. That is called without a meter, too: what
 * servers that are gone have left is to be paid by the others.
 */
#ifndef SPARE_DEBT_BPF_H
#define SPARE_DEBT_BPF_H

#include "vmlinux.h"
#include <sched_spare/abi.h>
#include <sched_spare/cbs.h>
#include <sched_spare/debt.h>
#include "cost.bpf.h"
#include "kfuncs.bpf.h"

/* The budget that its periods have, to share among threads. */
static __always_inline u64 debt_budget(const struct spare_server *s)
{
	return spare_debt_budget(&s->debt, &s->cbs);
}

/* A period of s begins and has its budget. unused_ns: spare_debt_unused(), from before it had. On its CPU. */
__noinline int debt_repay(struct spare_server *s __arg_nonnull, u64 unused_ns)
{
	u64 id = s->vm_id, cost = spare_server_cost(s->cpu, s->slot, bpf_map_lookup_elem(&costs, &id));
	struct spare_vm *vm;

	if (!cost && !s->debt.owed_ns)
		return 0;
	vm = (struct spare_vm *)spare_server_vm(s->cpu, s->slot, sizeof(struct spare_vm));
	if (!vm || !s->cbs.period_ns)
		return 0;
	s->debt.owed_ns += cost;
	if (vm->flags & SPARE_VM_CHARGE) {
		s->st.repaid_ns += spare_debt_pay(&s->debt, &s->cbs, unused_ns, vm->interval_ns);
		return 0;
	}
	s->st.waived_ns += s->debt.owed_ns;
	s->debt.owed_ns = 0;
	return 0;
}

/* What debt_repay() would leave of a budget that has just been credited, as far as it is known by now. From any CPU. */
static __always_inline void debt_foresee(const struct spare_server *s, struct spare_cbs *cbs, u64 unused_ns)
{
	struct spare_debt debt = s->debt;
	struct spare_vm *vm;

	if (!debt.owed_ns)
		return;
	vm = (struct spare_vm *)spare_server_vm(s->cpu, s->slot, sizeof(struct spare_vm));
	if (vm && vm->flags & SPARE_VM_CHARGE)
		spare_debt_pay(&debt, cbs, unused_ns, vm->interval_ns);
}

#endif
