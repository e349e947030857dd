/* SPDX-License-Identifier: GPL-2.0 */
/*
 * stray.bpf.h - a VM's threads on CPUs where it has no server (CBS-11).
 *
 * A stray takes its grants from the budget of one of its VM's servers, in the way in which a thread of a limited cgroup takes its own from a bucket
 * (host_limit.bpf.h). So what a VM has is one sum wherever its threads run, its own threads pay for the strays, and a VM with nothing
 * but strays gets its reservation, in the host's share.
 */
#ifndef SPARE_STRAY_BPF_H
#define SPARE_STRAY_BPF_H

#include "spare.bpf.h"
#include <sched_spare/abi.h>
#include <sched_spare/cbs.h>
#include <sched_spare/edf.h>
#include "kfuncs.bpf.h"
#include "cpu.bpf.h"
#include "task.bpf.h"

enum grant_const : __u64 {
	SPARE_GRANT_MIN_NS	= 200000ULL,	/* shorter ones are all switching */
	SPARE_LEFT_MIN_NS	= 20000ULL,	/* less in a bucket, or of a budget, is nothing */
	SPARE_STRAY_GRANT_NS	= 2000000ULL,
	SPARE_STRAY_NET_NS	= 500000ULL,
	SPARE_STRAY_LOOK_NS	= 1000000ULL,	/* the server that pays has still to be credited on its CPU */
	SPARE_STRAY_EVENT_NS	= 1000000000ULL,
};

enum limit_id : __u32 {
	SPARE_LIMIT_SERVER	= 1U << 31,	/* | of its id << 18 | cpu << 8 | slot: not a group, but a server's budget */
	SPARE_LIMIT_ID		= 0x1fff,	/* so much of its id: a slot may be another VM's before a grant comes back */
};

static __always_inline u32 server_limit(const struct spare_server *s)
{
	return SPARE_LIMIT_SERVER | (s->id & SPARE_LIMIT_ID) << 18 | s->cpu << 8 | s->slot;
}

static __always_inline struct spare_server *limit_server(u32 id)
{
	struct spare_server *s = server(id >> 8 & (SPARE_CPUS_MAX - 1), id & 255);

	return s && server_limit(s) == id ? s : NULL;
}

/* Have its CPU bring an INACTIVE server's budget up to date. */
static __always_inline void stray_settle(const struct spare_server *s, u64 now)
{
	if ((s->taken_ns || s->debt_ns) && server_sleeps_past(s, now))
		spare_attend(s->cpu, s->slot);
}

/* As limit_take(). */
__noinline u64 stray_take(u32 id, u64 now)
{
	struct spare_server *s = limit_server(id);
	s64 left, got;

	if (!s)
		return 0;	/* gone meanwhile: it asks for another one when it is queued */
	stray_settle(s, now);
	left = server_budget(s, now);
	/* Half of it, as long as that is worth a switch: a server that wakes meanwhile finds something. */
	got = left > 0 ? (u64)left / 2 : 0;
	if (got < (s64)SPARE_GRANT_MIN_NS)
		got = left < (s64)SPARE_GRANT_MIN_NS ? left : SPARE_GRANT_MIN_NS;
	if (got > (s64)SPARE_STRAY_GRANT_NS)
		got = SPARE_STRAY_GRANT_NS;
	if (got < (s64)SPARE_LEFT_MIN_NS)
		return 0;
	__sync_fetch_and_add(&s->taken_ns, got);
	return got;
}

/* When this server has budget for a stray; 0: it has. */
static __always_inline u64 stray_server_due(struct spare_server *s, u64 now)
{
	/* First: it may be replenished on its CPU meanwhile, and the next deadline with the budget of before would be a period too late. */
	u64 d = *(volatile u64 *)&s->cbs.d_ns;

	barrier();
	if (server_budget(s, now) >= (s64)SPARE_LEFT_MIN_NS)
		return 0;
	stray_settle(s, now);
	if (spare_before(now, d))
		return d;
	/* Credited already, and still in debt: only its next period helps. */
	if (server_sleeps_past(s, now) && !s->taken_ns && !s->debt_ns && s->cbs.period_ns)
		return d + ((now - d) / s->cbs.period_ns + 1) * s->cbs.period_ns;
	return now + SPARE_STRAY_LOOK_NS;
}

/* The VM's server on that CPU, if it has one that has been configured. */
static __always_inline struct spare_server *stray_server(struct task_struct *p, s32 cpu)
{
	u32 slot = spare_task_slot(p, cpu);
	struct spare_server *s = slot == SPARE_NO_SLOT ? NULL : server(cpu, slot);

	return s && s->cfg_seen ? s : NULL;
}

/*
 * As limit_due(), of a VM's thread. Of all its servers: the one that it asked may have been used up by another CPU since it was chosen, and another be
 * replenished before it.
 */
__noinline u64 stray_due(struct task_struct *p __arg_trusted, u64 now)
{
	u64 due, first = 0;
	struct spare_server *s;
	s32 cpu;
	int i;

	task_for_each_cpu(p, i, cpu) {
		s = stray_server(p, cpu);
		if (!s)
			continue;
		due = stray_server_due(s, now);
		if (!due)
			return 0;
		if (!first || spare_before(due, first))
			first = due;
	}
	return first;
}

/*
 * A stray that is a network thread runs before there is budget, so that its VM can be served (SPARE-9): paid from the budget to come, and
 * never more than half of one in advance, or packets would leave nothing of each budget to the VM's vCPUs. How long it has run says nothing of
 * what still waits for it: a packet may have come since, and wakes nobody.
 */
__noinline u64 stray_advance(u32 id, u64 now)
{
	struct spare_server *s = id & SPARE_LIMIT_SERVER ? limit_server(id) : NULL;
	s64 got = SPARE_STRAY_NET_NS;

	if (!s)
		return 0;
	if (got > (s64)(s->cbs.runtime_ns / 2))
		got = s->cbs.runtime_ns / 2;
	/* Others may do the same on other CPUs: taken before it is looked at. */
	__sync_fetch_and_add(&s->taken_ns, got);
	if (server_budget(s, now) < -(s64)(s->cbs.runtime_ns / 2)) {
		__sync_fetch_and_add(&s->taken_ns, -got);
		return 0;
	}
	return got;
}

__noinline int stray_add(u32 id, s64 ns)
{
	struct spare_server *s = limit_server(id);

	if (s)
		__sync_fetch_and_add(&s->taken_ns, -ns);
	return 0;
}

/* It has run for so long: counted at the first server of its VM, and said once a second. */
static __always_inline void stray_count(struct task_struct *p, u64 ns, u64 now)
{
	struct spare_server *s = task_first_server(p);
	struct spare_vm *vm = s ? server_vm(s) : NULL;

	if (!s || !vm)
		return;
	__sync_fetch_and_add(&s->st.stray_ns, ns);
	if (now - vm->stray_ns < SPARE_STRAY_EVENT_NS)
		return;
	vm->stray_ns = now;
	vm_event(s, SPARE_EV_STRAY);
}

/* The server that pays for a stray: the first of its VM with budget, else the one that will have some first. 0: none that serves. */
__noinline u32 stray_payer(struct task_struct *p __arg_trusted)
{
	u64 now = bpf_ktime_get_ns();
	struct spare_server *s;
	u64 d, first_d = 0;
	u32 first = 0;
	s64 left;
	s32 cpu;
	int i;

	task_for_each_cpu(p, i, cpu) {
		s = stray_server(p, cpu);
		if (!s)
			continue;
		d = *(volatile u64 *)&s->cbs.d_ns;	/* first, as in stray_server_due() */
		barrier();
		left = server_budget(s, now);
		if (left >= (s64)SPARE_LEFT_MIN_NS)
			return server_limit(s);
		/* The budgets that it owes take as many periods. */
		if (left < 0)
			d += (u64)-left / s->cbs.runtime_ns * s->cbs.period_ns;
		if (first && !spare_before(d, first_d))
			continue;
		first = server_limit(s);
		first_d = d;
	}
	return first;
}

#endif /* SPARE_STRAY_BPF_H */
