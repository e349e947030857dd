// SPDX-License-Identifier: GPL-2.0
/*
 * The meter counts what a VM has cost, the class pays. In between each of the VM's servers gets its part, to the nanosecond, whichever of them asks first,
 * and while others come and go (server.c): so one lock for each VM, held for some instructions at a replenishment. A VM's account lives with its cgroup: class,
 * meter and daemon may come and go.
 */
#include <linux/rcupdate.h>
#include <linux/spinlock.h>
#include "debt.h"
#include "server.h"
#include "vm.h"

/**
 * spare_debt_part - what a server owes since it last asked
 * @srv: held by RCU
 * @total: what the VM has cost so far, as the meter counts it meanwhile; NULL: no meter does
 *
 * With PREEMPT_RT softirqs are threads' own work, and charged as such: there nothing is left to pay.
 *
 * Context: interrupts off; under the run-queue lock of the server's CPU.
 * Return: ns of CPU.
 */
u64 spare_debt_part(struct spare_server_kern *srv, const u64 *total)
{
	if (IS_ENABLED(CONFIG_PREEMPT_RT))
		return 0;
	guard(raw_spinlock)(&srv->vm->share_lock);
	return spare_share_part(&srv->vm->share, total, &srv->had_ns);
}

/**
 * spare_debt_sum - what a VM was charged, and owes
 * @vm: which
 *
 * However many servers there may be, share_lock is held for two additions: who reads keeps nobody's replenishment waiting.
 *
 * Context: any, under vm->lock.
 * Return: both, in ns of CPU; what a server takes or pays meanwhile may not be among what is owed.
 */
struct spare_debt_sum spare_debt_sum(struct spare_vm_kern *vm)
{
	struct spare_debt_sum sum = { };
	struct spare_server_kern *srv;
	unsigned int cpu;

	lockdep_assert_held(&vm->lock);
	guard(rcu)();
	for_each_possible_cpu(cpu) {
		srv = spare_server_at(cpu, vm->slot[cpu]);
		if (srv)
			sum.owed_ns += READ_ONCE(srv->abi.debt.owed_ns);
	}
	list_for_each_entry(srv, &vm->gone, gone)
		sum.owed_ns += READ_ONCE(srv->abi.debt.owed_ns);
	/* Last: what a server takes just now is then missing once, not counted twice. */
	guard(raw_spinlock_irqsave)(&vm->share_lock);
	sum.charged_ns = vm->share.charged_ns;
	sum.owed_ns += vm->share.left_ns + vm->share.untaken_ns;
	return sum;
}
