// SPDX-License-Identifier: GPL-2.0
/* The class itself, unchanged, and what only its own types can tell of it. */
#include "sched_spare.bpf.c"
#include "class.h"

#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

enum { HASHED = 32, EBUSY = 16 };

_Thread_local struct cpu_ctx *shim_cpus;
_Thread_local struct host_group *shim_groups;
_Thread_local u32 shim_nr_cpus, shim_nr_groups;
static _Thread_local u64 *stock;
static _Thread_local u32 stocked;
static _Thread_local struct {
	u32 key;	/* 0: free */
	struct host_group value;
} hashed[HASHED];

void *shim_hash(u32 key, bool create)
{
	u32 i;

	for (i = 0; i < HASHED && hashed[i].key; i++)
		if (hashed[i].key == key)
			return &hashed[i].value;
	if (!create || i == HASHED || shim_fails())
		return NULL;
	hashed[i].key = key;
	return &hashed[i].value;
}

/* (Their lock may be taken.) */
long shim_stack_pop(u64 *id)
{
	if (shim_fails())
		return -EBUSY;
	if (!stocked)
		return -ENOENT;
	*id = stock[--stocked];
	return 0;
}

long shim_stack_push(const u64 *id)
{
	if (shim_fails())
		return -EBUSY;
	if (stocked == shim_nr_cpus * SPARE_SLOTS)
		return -E2BIG;
	stock[stocked++] = *id;
	return 0;
}

void class_begin(u32 nr)
{
	class_end();
	__builtin_memset(hashed, 0, sizeof(hashed));
	shim_nr_cpus = nr;
	shim_nr_groups = SPARE_GROUPS;
	shim_cpus = calloc(nr, sizeof(*shim_cpus));
	shim_groups = calloc(SPARE_GROUPS, sizeof(*shim_groups));
	stock = calloc(nr, SPARE_SLOTS * sizeof(*stock));
	if (!shim_cpus || !shim_groups || !stock)
		abort();
	stocked = 0;
	servers_total = idle_cpus = nr_cpus = cpus_end = host_overrun_ns = host_valve_tasks = host_vref = host_floor_ns = 0;
	groups_missing = host_limits = host_regulated = root_group = queue_ids = queues_made = queues_free = 0;
}

void class_end(void)
{
	free(shim_cpus);
	free(shim_groups);
	free(stock);
	shim_cpus = NULL;
	shim_groups = NULL;
	stock = NULL;
}

void class_smt(bool smt)
{
	unsigned long page = sysconf(_SC_PAGESIZE);

	/* A constant since the class was loaded, which user space writes before. */
	mprotect((void *)((unsigned long)&smt_active & -page), page, PROT_READ | PROT_WRITE);
	*(volatile bool *)&smt_active = smt;
}

/* The heap is one, and each of its places is known. */
static const char *check_heap(const struct spare_edf *h)
{
	u32 i, there = 0;

	for (i = 0; i < 256; i++)
		there += h->pos[i] != 0;
	if (there != h->n)
		return "a heap holds another number of servers than it knows places of";
	for (i = 1; i <= h->n; i++) {
		if (h->pos[h->node[i].slot & 255] != i)
			return "a heap's entry is not where it is said to be";
		if (i > 1 && spare_before(h->node[i].key, h->node[i / 2].key))
			return "a heap is out of order";
	}
	return NULL;
}

static u64 key_of(const struct spare_edf *h, u32 slot)
{
	return h->node[h->pos[slot]].key;
}

static const char *check_server(const struct cpu_ctx *c, const struct spare_server *s)
{
	bool ready = spare_edf_has(&c->ready, s->slot), throttled = spare_edf_has(&c->throttled, s->slot);
	const struct spare_server *o;

	if (ready != (s->state == SPARE_READY || s->state == SPARE_RUNNING))
		return "ready queue and state do not agree";
	if (throttled != (s->state == SPARE_THROTTLED))
		return "replenishment queue and state do not agree";
	if (ready && key_of(&c->ready, s->slot) != spare_deadline(&s->far, &s->cbs))
		return "a server stands in the ready queue by another deadline than its own";
	if (throttled && key_of(&c->throttled, s->slot) != s->cbs.d_ns)
		return "a server stands in the replenishment queue by another time than its own";
	if (s->state == SPARE_RUNNING && (c->cur == SPARE_NO_SLOT || c->by != s->slot))
		return "a server is RUNNING and pays for nobody";
	if (s->state != SPARE_INACTIVE && !s->dsq)
		return "a server is active without a queue";
	if (!s->dsq)
		return NULL;
	if (s->lender != SPARE_NO_SLOT) {
		o = server(s->cpu, s->lender);
		if (!o || o->borrower != s->slot)
			return "a server borrows from one that does not lend to it";
		if (spare_edf_has(&c->waiting, s->slot))
			return "a server waits for a provider and has one";
		if (!spare_mark_eligible(&s->mark))
			return "a server borrows without a mark";
	}
	if (s->borrower != SPARE_NO_SLOT) {
		o = server(s->cpu, s->borrower);
		if (!o || o->lender != s->slot)
			return "a server lends to one that does not borrow from it";
	}
	if (spare_edf_has(&c->waiting, s->slot) && !spare_mark_eligible(&s->mark))
		return "a server waits for a provider without a mark";
	if (s->cfg_seen && s->cbs.q_ns > (s64)s->cbs.runtime_ns)
		return "a server has more budget than its reservation";
	return NULL;
}

const char *class_check(s32 cpu, u32 *slot)
{
	struct cpu_ctx *c = cpu_ctx(cpu);
	const char *wrong = check_heap(&c->ready);
	const struct spare_server *s;
	u32 serve = 0, in = 0;

	wrong = wrong ?: check_heap(&c->throttled);
	wrong = wrong ?: check_heap(&c->waiting);
	if (wrong)
		return wrong;
	for (*slot = 0; *slot < SPARE_SLOTS; ++*slot) {
		s = server(cpu, *slot);
		if (!s)
			continue;
		serve += s->dsq != 0;
		in += spare_edf_has(&c->ready, *slot) + spare_edf_has(&c->throttled, *slot);
		wrong = check_server(c, s);
		if (wrong)
			return wrong;
	}
	if (serve != c->host.servers)
		return "a CPU counts another number of servers than have queues";
	if (in != c->ready.n + c->throttled.n)
		return "a server that is not there stands in a queue";
	return NULL;
}

struct class_cpu_view class_cpu(s32 cpu)
{
	const struct cpu_ctx *c = cpu_ctx(cpu);

	return (struct class_cpu_view) { c->cur, c->by, c->host.servers, c->host.idle, c->host.queued, c->ready.n > 0, c->host.park_ns };
}

struct class_charge class_charges(s32 cpu)
{
	const struct cpu_ctx *c = &shim_cpus[cpu];

	if (c->cur == SPARE_NO_SLOT)
		return (struct class_charge) { c->left, SPARE_NO_SLOT, c->host.park_idle_ns };
	return (struct class_charge) { c->by, c->cur, c->host.park_idle_ns };
}

bool class_waits(s32 cpu, u32 slot)
{
	return spare_edf_has(&shim_cpus[cpu].waiting, slot);
}

struct class_task_view class_task(struct task_struct *p)
{
	const struct task_ctx *t = task_ctx(p);

	return t ? (struct class_task_view) { t->counted, is_net(p, t), t->q_cpu, t->q_slot, t->q_id } : (struct class_task_view) { };
}

u64 class_servers_total(void)
{
	return servers_total;
}

u64 class_regulated(void)
{
	return host_regulated - (u64)host_limits;
}

u64 class_idle_cpus(void)
{
	return idle_cpus;
}
