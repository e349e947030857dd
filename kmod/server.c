// SPDX-License-Identifier: GPL-2.0
/*
 * Life of a server:
 *
 *   alloc -> publish -> [class may hold it] -> withdraw: DYING -> class: spare_server_release() -> reap -> RCU -> free
 *                                                  '--------- no class attached --------------------^
 *
 * The slot is cleared at reap; its number is given out again only after a grace period, so that a number that
 * the class read from use[] or a claim never comes to mean another server within one operation.
 */
#include <linux/irq_work.h>
#include <linux/slab.h>
#include <linux/workqueue.h>
#include "kick.h"
#include "server.h"
#include "timer.h"
#include "vm.h"

struct spare_cpu __percpu *spare_cpus;

static LIST_HEAD(dying);		/* servers, under spare_config */
static atomic_t attached = ATOMIC_INIT(0);

static void reap(struct work_struct *work);
static DECLARE_WORK(reap_work, reap);

static void reap_soon(struct irq_work *work)
{
	schedule_work(&reap_work);
}

static struct irq_work reap_irq = IRQ_WORK_INIT_HARD(reap_soon);

bool spare_server_attached(void)
{
	return atomic_read(&attached);
}

/* The server published at (cpu, slot), or NULL. Under RCU or spare_config. */
struct server *spare_server_at(s32 cpu, u32 slot)
{
	if (!spare_cpu_valid(cpu) || slot >= SPARE_SLOTS)
		return NULL;
	return rcu_dereference_check(per_cpu_ptr(spare_cpus, cpu)->slot[slot],
				     rcu_read_lock_any_held() || lockdep_is_held(&spare_config));
}

/* A server with a reserved slot, not yet visible. NULL: no memory; ERR_PTR(-EBUSY): no slot. */
struct server *spare_server_alloc(struct vm *vm, unsigned int cpu, u64 cfg)
{
	struct spare_cpu *c = per_cpu_ptr(spare_cpus, cpu);
	unsigned int i, slot;
	struct server *srv;

	lockdep_assert_held(&spare_config);
	slot = find_first_zero_bit(c->used, SPARE_SLOTS);
	if (slot >= SPARE_SLOTS)
		return ERR_PTR(-EBUSY);
	srv = kzalloc_node(sizeof(*srv), GFP_KERNEL, cpu_to_node(cpu));
	if (!srv)
		return ERR_PTR(-ENOMEM);
	set_bit(slot, c->used);

	srv->vm = vm;
	INIT_LIST_HEAD(&srv->dying);
	srv->abi.cpu = cpu;
	srv->abi.slot = slot;
	srv->abi.vm_id = vm->abi.id;
	srv->abi.cfg = cfg;
	srv->abi.lender = SPARE_NO_SLOT;
	srv->abi.borrower = SPARE_NO_SLOT;
	for (i = 0; i < SPARE_USE_MAX; i++)
		srv->abi.use[i] = SPARE_NO_SLOT;
	return srv;
}

/* Undo spare_server_alloc(). */
void spare_server_discard(struct server *srv)
{
	clear_bit(srv->abi.slot, per_cpu_ptr(spare_cpus, srv->abi.cpu)->used);
	kfree(srv);
}

void spare_server_publish(struct server *srv)
{
	struct vm *vm = srv->vm;

	lockdep_assert_held(&spare_config);
	vm->refs++;
	srv->abi.rx_served = READ_ONCE(vm->abi.rx_seq);
	rcu_assign_pointer(per_cpu_ptr(spare_cpus, srv->abi.cpu)->slot[srv->abi.slot], srv);
	spare_server_attend(srv->abi.cpu, srv->abi.slot);
}

static void server_free(struct rcu_head *rcu)
{
	struct server *srv = container_of(rcu, struct server, rcu);

	clear_bit(srv->abi.slot, per_cpu_ptr(spare_cpus, srv->abi.cpu)->used);
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

static void unpublish(struct server *srv)
{
	struct vm *vm = srv->vm;

	lockdep_assert_held(&spare_config);
	list_del(&srv->dying);
	RCU_INIT_POINTER(per_cpu_ptr(spare_cpus, srv->abi.cpu)->slot[srv->abi.slot], NULL);
	add_stats(&vm->past, &srv->abi.st);
	call_rcu(&srv->rcu, server_free);
	spare_vm_put(vm);
}

/* The class forgets it, then it is freed. Nobody's use[] names it any more. Under cpus_read_lock(). */
void spare_server_withdraw(struct server *srv)
{
	lockdep_assert_held(&spare_config);
	list_add_tail(&srv->dying, &dying);
	WRITE_ONCE(srv->abi.flags, srv->abi.flags | SPARE_F_DYING);
	smp_mb();	/* pairs with spare_server_detach(): we see it detached, or its reaper sees us */
	/* On a CPU that is offline nobody runs to let go of it, and ops.cpu_offline has already: it is neither counted nor has a queue. */
	if (spare_server_attached() && cpu_active(srv->abi.cpu))
		spare_server_attend(srv->abi.cpu, srv->abi.slot);
	else
		unpublish(srv);
}

static void reap(struct work_struct *work)
{
	struct server *srv, *next;

	guard(mutex)(&spare_config);
	list_for_each_entry_safe(srv, next, &dying, dying)
		if (READ_ONCE(srv->released) || !spare_server_attached())
			unpublish(srv);
}

/* From the class, any context. */
void spare_server_released(struct server *srv)
{
	if (!(READ_ONCE(srv->abi.flags) & SPARE_F_DYING))
		return;
	WRITE_ONCE(srv->released, true);
	irq_work_queue(&reap_irq);
}

/* The class shall look at this server: set its bit, then send its CPU through the scheduler. Any context. */
void spare_server_attend(s32 cpu, u32 slot)
{
	set_bit(slot, per_cpu_ptr(spare_cpus, cpu)->attention);
	spare_kick_cpu(cpu);
}

/* Take the lowest set bit of cpu's attention bitmap, or SPARE_NO_SLOT. */
u32 spare_server_attention(s32 cpu)
{
	struct spare_cpu *c = per_cpu_ptr(spare_cpus, cpu);
	unsigned int slot;

	for_each_set_bit(slot, c->attention, SPARE_SLOTS)
		if (test_and_clear_bit(slot, c->attention))
			return slot;
	return SPARE_NO_SLOT;
}

int spare_server_attach(void)
{
	unsigned int cpu, slot;

	if (atomic_cmpxchg(&attached, 0, 1))
		return -EBUSY;
	/* Whatever was configured before is news to this class. */
	for_each_possible_cpu(cpu)
		for (slot = 0; slot < SPARE_SLOTS; slot++)
			if (rcu_access_pointer(per_cpu_ptr(spare_cpus, cpu)->slot[slot]))
				set_bit(slot, per_cpu_ptr(spare_cpus, cpu)->attention);
	return 0;
}

static void forget(struct server *srv)
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
	s->pending = 0;
	s->rx_served = READ_ONCE(srv->vm->abi.rx_seq);
	srv->vm->abi.nr_throttled = 0;
	srv->vm->abi.has_vhost = 0;
}

/* The class has stopped: no operation of it runs or will run. Process context, does not sleep. */
void spare_server_detach(void)
{
	unsigned int cpu, slot;

	if (!atomic_xchg(&attached, 0))
		return;
	guard(rcu)();
	for_each_possible_cpu(cpu) {
		spare_timer_stop(cpu);
		for (slot = 0; slot < SPARE_SLOTS; slot++) {
			struct server *srv = spare_server_at(cpu, slot);

			if (srv)
				forget(srv);
		}
		bitmap_zero(per_cpu_ptr(spare_cpus, cpu)->attention, SPARE_SLOTS);
		per_cpu_ptr(spare_cpus, cpu)->deadline_ppm = 0;
	}
	smp_mb();	/* pairs with spare_server_withdraw() */
	schedule_work(&reap_work);
}

/* Sums of @vm's servers, gone ones included. Under spare_config. */
void spare_server_sum(struct vm *vm, struct spare_stats *sum)
{
	struct server *srv;
	unsigned int cpu;

	lockdep_assert_held(&spare_config);
	*sum = vm->past;
	for_each_possible_cpu(cpu) {
		srv = spare_server_at(cpu, vm->slot[cpu]);
		if (srv)
			add_stats(sum, &srv->abi.st);
	}
	list_for_each_entry(srv, &dying, dying)
		if (srv->vm == vm)
			add_stats(sum, &srv->abi.st);
}

int spare_server_init(void)
{
	spare_cpus = alloc_percpu(struct spare_cpu);
	return spare_cpus ? 0 : -ENOMEM;
}

void spare_server_exit(void)
{
	irq_work_sync(&reap_irq);
	cancel_work_sync(&reap_work);
	rcu_barrier();	/* server_free(), and vm's */
	free_percpu(spare_cpus);
}
