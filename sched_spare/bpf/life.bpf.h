/* SPDX-License-Identifier: GPL-2.0 */
/* life.bpf.h - servers, tasks, CPUs and the class itself come and go (LIFE-3, LIFE-4). */
#ifndef SPARE_LIFE_BPF_H
#define SPARE_LIFE_BPF_H

#include "spare.bpf.h"
#include <sched_spare/abi.h>
#include "kfuncs.bpf.h"
#include "queue.bpf.h"
#include "host_cpu.bpf.h"
#include "cpu.bpf.h"
#include "boost.bpf.h"
#include "task.bpf.h"
#include "host_group.bpf.h"
#include "host_limit.bpf.h"
#include "host.bpf.h"

/* Why the class left, for spared's message. */
u32 exit_info_kind SEC(".data");
u64 exit_info_code SEC(".data");
char exit_info_reason[128] SEC(".data");
char exit_info_msg[1024] SEC(".data");
char exit_info_dump[32768] SEC(".data");	/* as much as sched_ext makes (exit_dump_len) */

/* Its threads become the host's (host_adopt). */
static __always_inline void server_drain(struct cpu_ctx *c, const struct spare_server *s, s32 goes)
{
	if (s->dsq)
		host_adopt(&c->host, s->dsq, host_home(s->cpu), 0, goes);
}

/* What s, which goes, has had since another had its budget, or since it was last here. */
static __always_inline void server_bequeath(struct spare_server *s)
{
	struct spare_server *heir = s->heir_id ? server(s->heir_cpu, s->heir_slot) : NULL;

	if (!heir || heir->id != s->heir_id)
		return;
	__sync_fetch_and_add(&heir->taken_ns, (s64)(s->st.used_ns - s->given_ns) + __sync_lock_test_and_set(&s->taken_ns, 0));
	__sync_fetch_and_add(&heir->debt_ns, __sync_lock_test_and_set(&s->debt_ns, 0));
	s->given_ns = s->st.used_ns;
}

/*
 * A server that the module withdraws: its threads become the host's, its claims end. Again, if asked before it is reaped. Of a crowd some at
 * a time, so that its neighbours are served in between. Returns whether that was all.
 */
__noinline int server_drop(struct cpu_ctx *c __arg_nonnull, struct spare_server *s __arg_nonnull, u64 now)
{
	struct spare_server *b;
	u32 cpu = s->cpu, slot = s->slot;

	if (s->dsq) {
		boost_release(c, s, now);
		b = s->borrower == SPARE_NO_SLOT ? NULL : server(cpu, s->borrower);
		if (b) {
			boost_release(c, b, now);
			boost_check(c, b, now);
		}
		if (s->state == SPARE_THROTTLED)
			server_unthrottle(c, s, now);
		if (s->state != SPARE_INACTIVE)
			server_inactive(c, s, now);
		server_drain(c, s, -1);
	}
	if (c->cur == slot || c->by == slot)
		c->cur = SPARE_NO_SLOT;
	if (c->left == slot || c->left_of == slot)
		c->left = SPARE_NO_SLOT;
	server_bequeath(s);
	if (server_queued(s))
		return false;
	server_end(c, s);
	spare_server_release(cpu, slot);
	return true;
}

s32 BPF_STRUCT_OPS_SLEEPABLE(spare_init_task, struct task_struct *p, struct scx_init_task_args *args)
{
	queues_fill();
	return bpf_task_storage_get(&tasks, p, NULL, BPF_LOCAL_STORAGE_GET_F_CREATE) ? 0 : -ENOMEM;
}

void BPF_STRUCT_OPS(spare_enable, struct task_struct *p)
{
	spare_task_changes(p, false);
	host_enable(p);
}

/* It leaves the class, perhaps while it waits in a server. */
void BPF_STRUCT_OPS(spare_disable, struct task_struct *p)
{
	struct cpu_ctx *c = cpu_ctx(task_cpu(p));
	struct task_ctx *t = task_ctx(p);

	spare_task_changes(p, true);
	/* One that runs on, as a real-time thread, is charged there: nobody has left. */
	if (c && c->left_pid == (u32)p->pid) {
		c->left = SPARE_NO_SLOT;
		c->left_pid = 0;
	}
	if (!t)
		return;
	t->serves = SPARE_SERVES_NONE;
	t->waits_in = 0;
	if (t->grant_ns)
		limit_return(t);
	task_unqueued(t);
	group_leave(p, t);
}

/* It may run elsewhere from now on: who places servers looks. (Not so when the kernel keeps it where it is for a moment.) */
void BPF_STRUCT_OPS(spare_set_cpumask, struct task_struct *p, const struct cpumask *cpumask)
{
	struct spare_server *s = servers_total && !task_pinned(p) ? task_first_server(p) : NULL;

	if (s)
		vm_event(s, SPARE_EV_AFFINITY);
}

/* It goes to another cgroup: it is no longer counted where it was. */
void BPF_STRUCT_OPS(spare_cgroup_move, struct task_struct *p, struct cgroup *from, struct cgroup *to)
{
	struct task_ctx *t = task_ctx(p);

	if (!t)
		return;
	t->net = false;
	t->serves = SPARE_SERVES_NONE;
	t->waits_in = 0;
	if (t->grant_ns)
		limit_return(t);
	task_unqueued(t);
	group_leave(p, t);
}

s32 BPF_STRUCT_OPS_SLEEPABLE(spare_init)
{
	struct cpu_ctx *c;
	int cpu, err;

	err = spare_class_attach(SPARE_ABI);
	if (err)
		return err;
	nr_cpus = scx_bpf_nr_cpu_ids();
	bpf_for(cpu, 0, nr_cpus) {
		c = cpu_ctx(cpu);
		if (!c)
			return -E2BIG;
		c->cur = c->by = c->pick = c->pick_by = c->left = c->fwd_slot = c->offer = SPARE_NO_SLOT;
		err = host_cpu_init(&c->host, cpu);
		if (err)
			return err;
	}
	return queues_fill();
}

/*
 * A CPU goes (LIFE-4). Its threads are on their way to others, the kernel calls ops.dispatch there no more and nobody queues
 * anything in its servers (kfuncs.c). They keep budget and deadline for the day it comes back, and nothing else: one that is withdrawn
 * meanwhile goes without us.
 */
void BPF_STRUCT_OPS(spare_cpu_offline, s32 cpu)
{
	u64 now = bpf_ktime_get_ns();
	struct cpu_ctx *c = cpu_ctx(cpu);
	struct spare_server *s;
	int slot;

	if (!c)
		return;
	spare_timer_arm(cpu, 0, 0);
	forward_flush(c);
	host_cpu_offline(&c->host, cpu);
	bpf_for(slot, 0, SPARE_SLOTS) {
		s = server(cpu, slot);
		if (!s)
			continue;
		server_rest(c, s, now);
		server_drain(c, s, cpu);
		if (s->flags & SPARE_F_DYING)
			server_drop(c, s, now);
		else
			server_end(c, s);
	}
	c->cur = c->by = c->pick = c->pick_by = c->left = SPARE_NO_SLOT;
	c->again_ns = c->guard_ns = 0;
}

/* It is back. What was asked of its servers meanwhile stands in their attention bits; its first dispatch looks. */
void BPF_STRUCT_OPS(spare_cpu_online, s32 cpu)
{
	struct cpu_ctx *c = cpu_ctx(cpu);
	struct spare_server *s;
	int slot;

	if (c)
		c->host.offline = 0;
	bpf_for(slot, 0, SPARE_SLOTS) {
		s = server(cpu, slot);
		if (s)
			spare_attend(cpu, slot);
	}
}

/* For the kernel's report when a class ends by an error, and for SysRq-D. */
void BPF_STRUCT_OPS(spare_dump_cpu, struct scx_dump_ctx *dctx, s32 cpu, bool idle)
{
	struct cpu_ctx *c = cpu_ctx(cpu);
	u64 now = bpf_ktime_get_ns();
	struct spare_server *s;
	int slot;

	if (!c)
		return;
	dump_line("sched_spare: servers %u, runs %d paid by %d, picked %d, %d ready, %d throttled, %d wait; charged up to %lld ns ago",
		  c->host.servers, (s16)c->cur, (s16)c->by, (s16)c->pick, c->ready.n, c->throttled.n, c->waiting.n, now - c->stamp_ns);
	bpf_for(slot, 0, SPARE_SLOTS) {
		s = server(cpu, slot);
		if (!s || (s->state == SPARE_INACTIVE && !server_queued(s)))
			continue;
		dump_line("sched_spare: slot %d of cgroup %llu: state %u, %lld ns left, deadline in %lld ns, %d queued, mark %u, lender %d, borrower %d",
			  slot, s->vm_id, s->state, s->cbs.q_ns, s->cbs.d_ns - now, server_queued(s), s->mark.phase, (s16)s->lender,
			  (s16)s->borrower);
	}
}

void BPF_STRUCT_OPS(spare_exit, struct scx_exit_info *ei)
{
	bpf_probe_read_kernel_str(exit_info_reason, sizeof(exit_info_reason), ei->reason);
	bpf_probe_read_kernel_str(exit_info_msg, sizeof(exit_info_msg), ei->msg);
	bpf_probe_read_kernel_str(exit_info_dump, sizeof(exit_info_dump), ei->dump);
	exit_info_code = ei->exit_code;
	exit_info_kind = ei->kind;	/* last: tells user space that the rest is there */
	spare_class_detach();
}

#endif
