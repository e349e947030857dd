// SPDX-License-Identifier: GPL-2.0
/*
 * Life of a server:
 *
 *   alloc -> publish -> [class may hold it] -> withdraw -> RCU -> DYING -> class: spare_server_release() -> reap -> RCU -> free
 *                                                                  '----- no class attached ------------^
 *
 * The slot is cleared at reap; its number is given out again only after a grace period, so that a number that
 * the class read from use[] or a claim never comes to mean another server within one operation.
 */
#include <linux/delay.h>
#include <linux/irq_work.h>
#include <linux/slab.h>
#include <linux/workqueue.h>
#include "class.h"
#include "kick.h"
#include "server.h"
#include "stock.h"
#include "timer.h"
#include "vm.h"

struct spare_cpu __percpu *spare_cpus;

static LIST_HEAD(dying);		/* servers, under spare_config */
static u64 last_id;			/* of a server, under spare_config */
static unsigned int live;		/* servers published and not reaped: each may hold a queue; under spare_config */

static void reap_work_fn(struct work_struct *work);
static DECLARE_WORK(reap_work, reap_work_fn);

static void reap_soon(struct irq_work *work)
{
	schedule_work(&reap_work);
}

static struct irq_work reap_irq = IRQ_WORK_INIT_HARD(reap_soon);

/**
 * spare_server_at - the server that is published somewhere
 * @cpu: any number
 * @slot: likewise
 *
 * Context: any, under RCU or spare_config, which hold it.
 * Return: the server; NULL: none.
 */
struct spare_server_kern *spare_server_at(s32 cpu, u32 slot)
{
	if (!spare_cpu_valid(cpu) || slot >= SPARE_SLOTS)
		return NULL;
	return rcu_dereference_check(per_cpu_ptr(spare_cpus, cpu)->slot[slot],
				     rcu_read_lock_any_held() || lockdep_is_held(&spare_config));
}

/**
 * spare_server_alloc - a server with a reserved slot, not yet visible
 * @vm: whose
 * @cpu: where it has none
 * @cfg: runtime << 32 | period, in us
 *
 * Context: process, under spare_config.
 * Return: the server; ERR_PTR: -ENOMEM; -EAGAIN: no slot, but one may come free (spare_server_settle()).
 */
struct spare_server_kern *spare_server_alloc(struct spare_vm_kern *vm, unsigned int cpu, u64 cfg)
{
	struct spare_cpu *c = per_cpu_ptr(spare_cpus, cpu);
	unsigned int i, slot;
	struct spare_server_kern *srv;

	lockdep_assert_held(&spare_config);
	slot = find_first_zero_bit(c->used, SPARE_SLOTS);
	if (slot >= SPARE_SLOTS)
		return ERR_PTR(-EAGAIN);
	srv = kzalloc_node(sizeof(*srv), GFP_KERNEL, cpu_to_node(cpu));
	if (!srv)
		return ERR_PTR(-ENOMEM);
	set_bit(slot, c->used);

	srv->vm = vm;
	INIT_LIST_HEAD(&srv->dying);
	srv->cpu = srv->abi.cpu = cpu;
	srv->slot = srv->abi.slot = slot;
	srv->abi.id = ++last_id;
	srv->abi.vm_id = vm->abi.id;
	srv->abi.cfg = cfg;
	srv->abi.lender = SPARE_NO_SLOT;
	srv->abi.borrower = SPARE_NO_SLOT;
	for (i = 0; i < SPARE_USE_MAX; i++)
		srv->abi.use[i] = SPARE_NO_SLOT;
	return srv;
}

/**
 * spare_server_discard - undo spare_server_alloc()
 * @srv: not published
 *
 * Context: process, under spare_config.
 */
void spare_server_discard(struct spare_server_kern *srv)
{
	clear_bit(srv->slot, per_cpu_ptr(spare_cpus, srv->cpu)->used);
	kfree(srv);
}

/**
 * spare_server_publish - let the class see a server
 * @srv: of spare_server_alloc(); holds its VM from now on
 *
 * Context: process, under spare_config; vm->lock may be held.
 */
void spare_server_publish(struct spare_server_kern *srv)
{
	struct spare_vm_kern *vm = srv->vm;

	lockdep_assert_held(&spare_config);
	spare_vm_get(vm);
	live++;
	scoped_guard(raw_spinlock_irqsave, &vm->share_lock)
		srv->had_ns = spare_share_join(&vm->share);
	srv->abi.rx_served = READ_ONCE(vm->abi.rx_seq);
	rcu_assign_pointer(per_cpu_ptr(spare_cpus, srv->cpu)->slot[srv->slot], srv);
	spare_server_attend(srv->cpu, srv->slot);
}

static void server_free(struct rcu_head *rcu)
{
	struct spare_server_kern *srv = container_of(rcu, struct spare_server_kern, rcu);

	clear_bit(srv->slot, per_cpu_ptr(spare_cpus, srv->cpu)->used);
	kfree(srv);
}

/* spare_stats is a row of u64 but for its maxima. */
static void add_stats(struct spare_stats *sum, const struct spare_stats *st)
{
	u64 overrun = max(sum->overrun_max_ns, st->overrun_max_ns);
	u64 lat = max(sum->lat_max_ns, st->lat_max_ns);
	const u64 *from = (const u64 *)st;
	u64 *to = (u64 *)sum;
	unsigned int i;

	for (i = 0; i < sizeof(*st) / sizeof(u64); i++)
		to[i] += READ_ONCE(from[i]);
	sum->overrun_max_ns = overrun;
	sum->lat_max_ns = lat;
}

static void unpublish(struct spare_server_kern *srv)
{
	struct spare_vm_kern *vm = srv->vm;

	lockdep_assert_held(&spare_config);
	list_del(&srv->dying);
	live--;
	scoped_guard(spinlock, &vm->lock) {
		list_del(&srv->gone);
		add_stats(&vm->past, &srv->abi.st);
		scoped_guard(raw_spinlock_irqsave, &vm->share_lock)
			spare_share_leave(&vm->share, srv->had_ns, srv->abi.debt.owed_ns);
		RCU_INIT_POINTER(per_cpu_ptr(spare_cpus, srv->cpu)->slot[srv->slot], NULL);
	}
	call_rcu(&srv->rcu, server_free);
	spare_vm_put(vm);
}

static void tell_class(struct rcu_head *rcu)
{
	struct spare_server_kern *srv = container_of(rcu, struct spare_server_kern, rcu);

	WRITE_ONCE(srv->abi.flags, srv->abi.flags | SPARE_F_DYING);
	smp_store_release(&srv->told, true);
	smp_mb();	/* pairs with spare_server_detach(): we see it detached, or its reaper sees us */
	if (spare_class_attached())
		spare_server_attend(srv->cpu, srv->slot);
	else
		schedule_work(&reap_work);
}

/**
 * spare_server_withdraw - the class shall forget a server, then it is freed
 * @srv: a published one; on vm->gone
 *
 * Nobody's use[] names it any more, nor does its VM: once a grace period has passed, no thread is on its way into its queue, which may then be
 * another server's.
 *
 * Context: process, under spare_config.
 */
void spare_server_withdraw(struct spare_server_kern *srv)
{
	lockdep_assert_held(&spare_config);
	list_add_tail(&srv->dying, &dying);
	WRITE_ONCE(srv->withdrawn, true);
	call_rcu_hurry(&srv->rcu, tell_class);
}

/**
 * spare_server_reap - free what the class has forgotten
 *
 * On a CPU that is offline nobody runs to forget, and ops.cpu_offline has already: it is neither counted nor has a queue. (Should the CPU come back
 * just now, the class finds the slot empty, or the server and forgets it.)
 *
 * Context: process, under spare_config.
 */
void spare_server_reap(void)
{
	struct spare_server_kern *srv, *next;

	lockdep_assert_held(&spare_config);
	list_for_each_entry_safe(srv, next, &dying, dying)
		if (smp_load_acquire(&srv->told) && (READ_ONCE(srv->released) || !spare_class_attached() || !cpu_online(srv->cpu)))
			unpublish(srv);
}

static void reap_work_fn(struct work_struct *work)
{
	guard(mutex)(&spare_config);
	spare_server_reap();
}

/**
 * spare_server_reaping - are there servers that the class has yet to forget?
 *
 * Context: any; exact under spare_config.
 * Return: true: there are.
 */
bool spare_server_reaping(void)
{
	return !list_empty(&dying);
}

/**
 * spare_server_live - servers that may each hold a queue of the class's
 *
 * Context: process, under spare_config.
 * Return: those published and not reaped.
 */
unsigned int spare_server_live(void)
{
	lockdep_assert_held(&spare_config);
	return live;
}

/**
 * spare_server_settle - wait until the slots of servers that were withdrawn are free
 *
 * Context: process, no locks; for some milliseconds.
 */
void spare_server_settle(void)
{
	bool left = true;
	int tries;

	rcu_barrier();	/* tell_class() */
	for (tries = 0; tries < 20 && left; tries++) {
		usleep_range(500, 1000);
		/* (To wait for the work would be to wait for its worker's fork, too.) */
		guard(mutex)(&spare_config);
		spare_server_reap();
		left = spare_server_reaping();
	}
	rcu_barrier();	/* server_free() */
}

/**
 * spare_server_released - the class has forgotten a server
 * @srv: held by RCU
 *
 * Context: any.
 */
void spare_server_released(struct spare_server_kern *srv)
{
	if (!READ_ONCE(srv->withdrawn))
		return;
	WRITE_ONCE(srv->released, true);
	irq_work_queue(&reap_irq);
}

/**
 * spare_server_attend - the class shall look at a server
 * @cpu: a possible one, which is sent through the scheduler when the bit is set
 * @slot: of the server
 *
 * Context: any.
 */
void spare_server_attend(s32 cpu, u32 slot)
{
	set_bit(slot, per_cpu_ptr(spare_cpus, cpu)->attention);
	spare_kick_cpu(cpu);
}

/**
 * spare_server_attention - take the lowest set bit of the attention bitmap
 * @cpu: a possible one
 *
 * Context: any.
 * Return: a slot; SPARE_NO_SLOT: none.
 */
u32 spare_server_attention(s32 cpu)
{
	struct spare_cpu *c = per_cpu_ptr(spare_cpus, cpu);
	unsigned int i, slot;
	unsigned long word;

	/* (Each switch to idle comes here, and find_first_bit() is a call.) */
	for (i = 0; i < BITS_TO_LONGS(SPARE_SLOTS); i++) {
		while ((word = READ_ONCE(c->attention[i]))) {
			slot = i * BITS_PER_LONG + __ffs(word);
			if (test_and_clear_bit(slot, c->attention))
				return slot;
		}
	}
	return SPARE_NO_SLOT;
}

/**
 * spare_server_attach - a class begins: whatever was configured before is news to it
 *
 * Context: process.
 * Return: 0; -EBUSY: there is one.
 */
int spare_server_attach(void)
{
	unsigned int cpu, slot;

	if (!spare_class_begin())
		return -EBUSY;
	spare_stock_reset();
	/* Whatever was configured before is news to this class. */
	for_each_possible_cpu(cpu)
		for (slot = 0; slot < SPARE_SLOTS; slot++)
			if (rcu_access_pointer(per_cpu_ptr(spare_cpus, cpu)->slot[slot]))
				set_bit(slot, per_cpu_ptr(spare_cpus, cpu)->attention);
	return 0;
}

static void forget(struct spare_server_kern *srv)
{
	struct spare_server *s = &srv->abi;

	s->state = SPARE_INACTIVE;
	s->cfg_seen = 0;
	memset(&s->mark, 0, sizeof(s->mark));
	memset(&s->far, 0, sizeof(s->far));
	s->dsq = 0;
	s->valve_ns = 0;
	s->lender = SPARE_NO_SLOT;
	s->borrower = SPARE_NO_SLOT;
	s->net_queued = 0;
	s->svc_pending = 0;
	s->owed_ns = 0;
	s->debt_ns = 0;
	s->taken_ns = 0;
	s->strayed_ns = 0;
	s->pending = 0;
	s->rx_served = READ_ONCE(srv->vm->abi.rx_seq);
	srv->vm->abi.nr_throttled = 0;
	guard(raw_spinlock_irqsave)(&srv->vm->share_lock);
	srv->vm->share.known = 0;	/* what it costs until there is a class is nobody's */
}

/**
 * spare_server_detach - it has stopped: no operation of it runs or will run
 *
 * Context: process; does not sleep.
 */
void spare_server_detach(void)
{
	unsigned int cpu, slot;

	if (!spare_class_end())
		return;
	guard(rcu)();
	for_each_possible_cpu(cpu) {
		spare_timer_stop(cpu);
		for (slot = 0; slot < SPARE_SLOTS; slot++) {
			struct spare_server_kern *srv = spare_server_at(cpu, slot);

			if (srv)
				forget(srv);
		}
		bitmap_zero(per_cpu_ptr(spare_cpus, cpu)->attention, SPARE_SLOTS);
		per_cpu_ptr(spare_cpus, cpu)->deadline_ppm = 0;
	}
	smp_mb();	/* pairs with spare_server_withdraw() */
	schedule_work(&reap_work);
}

/**
 * spare_server_sum - what a VM's servers have used, gone ones included
 * @vm: whose
 * @sum: out
 *
 * Context: any, under vm->lock.
 */
void spare_server_sum(struct spare_vm_kern *vm, struct spare_stats *sum)
{
	struct spare_server_kern *srv;
	unsigned int cpu;

	lockdep_assert_held(&vm->lock);
	*sum = vm->past;
	guard(rcu)();
	for_each_possible_cpu(cpu) {
		srv = spare_server_at(cpu, vm->slot[cpu]);
		if (srv)
			add_stats(sum, &srv->abi.st);
	}
	list_for_each_entry(srv, &vm->gone, gone)
		add_stats(sum, &srv->abi.st);
}

/**
 * spare_server_init - before the first server
 *
 * Context: process, at load.
 * Return: 0; -ENOMEM.
 */
int spare_server_init(void)
{
	spare_cpus = alloc_percpu(struct spare_cpu);
	return spare_cpus ? 0 : -ENOMEM;
}

/**
 * spare_server_exit - wait for all that is still to be freed
 *
 * Context: process, at unload; no VM is left.
 */
void spare_server_exit(void)
{
	rcu_barrier();	/* tell_class() */
	irq_work_sync(&reap_irq);
	cancel_work_sync(&reap_work);
	scoped_guard(mutex, &spare_config)
		spare_server_reap();
	rcu_barrier();	/* server_free(), and vm's */
	free_percpu(spare_cpus);
}
