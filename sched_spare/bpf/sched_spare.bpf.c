// SPDX-License-Identifier: GPL-2.0
/*
 * sched_spare - EDF over hard constant bandwidth servers, with spare bandwidth for packets that find a VM exhausted.
 *
 * 1. A VM is a cgroup with a reservation; on each CPU of spare.cpus it has a server (CBS-1). Its runnable threads wait
 *    in the server's own queue: those that woke less than a turn of CPU ago first, then the others in turns (CBS-8).
 * 2. A CPU runs the READY server with the earliest deadline (CBS-5). Time is charged from ops.running to ops.stopping
 *    to the server that was picked; a hard timer of sched_spare.ko ends a budget, and what it overran is carried (CBS-4).
 * 3. A packet for a VM with a THROTTLED server makes the hook call spare_attend(): the server claims a provider and its
 *    threads become eligible there too (boost.bpf.h).
 * 4. Everything else on the host runs fairly in what the servers leave (host.bpf.h).
 *
 * Callbacks stand in the order of a thread's life, what they do for a VM in enqueue.bpf.h, dispatch.bpf.h and run.bpf.h; what comes
 * and goes (servers, tasks, CPUs, the class) is in life.bpf.h. All state of a CPU is changed under its run-queue lock (cpu.bpf.h), which
 * moving a thread of another CPU lets go of for a moment (run_from(), DESIGN.md);
 * every CPU has queues of its own.
 */
#include "spare.bpf.h"
#include <sched_spare/abi.h>
#include <sched_spare/cbs.h>
#include <sched_spare/edf.h>
#include "kfuncs.bpf.h"
#include "compat.bpf.h"
#include "cpu.bpf.h"
#include "boost.bpf.h"
#include "deadline.bpf.h"
#include "task.bpf.h"
#include "guard.bpf.h"
#include "host_timer.bpf.h"
#include "host.bpf.h"
#include "account.bpf.h"
#include "life.bpf.h"
#include "enqueue.bpf.h"
#include "dispatch.bpf.h"
#include "run.bpf.h"
#include "core.bpf.h"

char _license[] SEC("license") = "GPL";

/* LIFE-6: what this object was compiled against; user space compares before it loads. */
const volatile u32 spare_abi = SPARE_ABI;
/* Which object file this is: user space knows it by its own. */
const volatile u64 spare_build = 0;

/* ---- a thread becomes runnable ------------------------------------------------------------------------------------ */

s32 BPF_STRUCT_OPS(spare_select_cpu, struct task_struct *p, s32 prev_cpu, u64 wake_flags)
{
	struct spare_vm *vm = task_vm(p);
	s32 cpu;

	if (!vm)
		return host_select_cpu(p, prev_cpu, wake_flags);
	cpu = vm_cpu(p, prev_cpu);
	return cpu >= 0 ? cpu : prev_cpu;
}

void BPF_STRUCT_OPS(spare_enqueue, struct task_struct *p, u64 enq_flags)
{
	struct cpu_ctx *c = cpu_ctx(task_cpu(p));

	if (!c || host_regulated || !host_short_cut(c, p, enq_flags))
		queue_task(p, enq_flags);
}

/* ---- a CPU looks for work ----------------------------------------------------------------------------------------- */

/* A CPU that has servers, or had, or is about to have one. slot: the first of those for which something was left here. Returns whether somebody runs. */
static __always_inline bool choose(struct cpu_ctx *c, s32 cpu, u32 slot, struct task_struct *prev, bool prev_runs)
{
	u64 now = bpf_ktime_get_ns();
	struct task_struct *host;
	bool some;
	u32 cur;

	charge(c, cpu, now);
	c->host.dispatch_ns = now;
	if (slot != SPARE_NO_SLOT)
		attend(c, cpu, slot, now);
	offer_due(c, cpu);
	if (c->again_ns)
		attend_again(c, cpu, now);
	if (c->throttled.n)
		replenish(c, cpu, now);
	if (c->guard_ns && (!c->host.servers || !spare_before(now, c->guard_ns)))
		guard_release(c, cpu, now);
	c->taken_to = 0;
	/* Another CPU is idle, and one who is parked here has a turn again: not only when the servers leave the host something. (The look is nobody's.) */
	if (host_parked_idle(&c->host, now)) {
		host_unpark_idle(&c->host, cpu, now);
		now = bpf_ktime_get_ns();
		own_time_since(c, cpu, now);
	}
	/* Its VM may have lost or won a reservation while it ran; a worker may have had what its limit leaves (guard.bpf.h). */
	cur = c->cur;
	if (prev_runs && cur != SPARE_NO_SLOT && (spare_task_slot(prev, cpu) != cur || (c->limited && guard_ends(c, cpu, now))))
		cur = SPARE_NO_SLOT, prev_runs = false;
	host = prev_runs && cur == SPARE_NO_SLOT && task_stays_host(prev, cpu) ? prev : NULL;
	c->pick = SPARE_NO_SLOT;
	if (prev && cur == SPARE_NO_SLOT && is_percpu_kthread(prev))
		kthread_charge(c, prev);
	if (host_goes_first(c, cpu, host, now) || servers_dispatch(c, cpu, prev, prev_runs ? cur : SPARE_NO_SLOT, now))
		return true;
	if (c->host.kthread_wait && kthread_dispatch(c, cpu, host))
		return true;
	some = host_dispatch(&c->host, cpu, host);
	arm_next(c, cpu);
	return some;
}

/* One that has none. */
static __always_inline bool choose_host(struct cpu_ctx *c, s32 cpu, struct task_struct *prev, bool prev_runs)
{
	struct task_struct *host = prev_runs && task_stays_host(prev, cpu) ? prev : NULL;
	bool some;

	if (host_regulated)
		c->host.dispatch_ns = bpf_ktime_get_ns();
	if ((c->host.kthreads || (host && is_percpu_kthread(host))) && kthread_dispatch(c, cpu, host))
		return true;
	some = host_dispatch(&c->host, cpu, host);
	if (c->host.armed || c->host.park_ns || c->host.grant_end_ns)
		arm_next(c, cpu);
	return some;
}

void BPF_STRUCT_OPS(spare_dispatch, s32 cpu, struct task_struct *prev)
{
	struct cpu_ctx *c = cpu_ctx(cpu);
	bool prev_runs, some;
	u32 slot;

	if (!c)
		return;
	prev_runs = prev && prev->scx.flags & SCX_TASK_QUEUED;
	forward_flush(c);
	c->look = 0;
	slot = spare_attention(cpu);
	if (!prev || c->host.servers)
		deadline_look(c, cpu);
	if (c->host.servers || slot != SPARE_NO_SLOT)
		some = choose(c, cpu, slot, prev, prev_runs);
	else
		some = choose_host(c, cpu, prev, prev_runs);
	if (some || prev)
		return;
	c->host.dispatch_ns = 0;
	/* It stays idle, since before the class, or since that was bypassed: nobody has said so. */
	if (!c->host.idle)
		idle_begins(cpu);
}

/* ---- a thread runs ------------------------------------------------------------------------------------------------ */

void BPF_STRUCT_OPS(spare_running, struct task_struct *p)
{
	s32 cpu = task_cpu(p);
	struct cpu_ctx *c = cpu_ctx(cpu);

	if (!c)
		return;
	if (host_regulated)
		run_task(c, p);
	else if (host_runs(c, p, false))
		host_run_begins(c, cpu, false, true);
}

/* That idleness ends, whoever runs next says (host_idle): less is on the way of a wake-up. */
void BPF_STRUCT_OPS(spare_update_idle, s32 cpu, bool idle)
{
	if (idle)
		idle_begins(cpu);
}

/* The timer is the rule; this is for a timer that fired into a slice which the kernel then wrote back, and for short turns. */
void BPF_STRUCT_OPS(spare_tick, struct task_struct *p)
{
	s32 cpu = task_cpu(p);
	struct cpu_ctx *c = cpu_ctx(cpu);
	struct spare_server *s, *by;
	u64 now, end;

	if (!c)
		return;
	host_tell_idle(&c->host, cpu);
	if (c->cur == SPARE_NO_SLOT) {
		deadline_look(c, cpu);
		host_tick(&c->host);
		return;
	}
	now = bpf_ktime_get_ns();
	if (host_parked_idle(&c->host, now))
		spare_kick(cpu);
	by = server(cpu, c->by);
	if (!by || (s64)(now - c->stamp_ns) >= (s64)server_left(by)) {
		scx_bpf_task_set_slice(p, 0);
		return;
	}
	s = server(cpu, c->cur);
	end = s ? spare_turn_ticked(c->turn_end_ns, server_turn(s)) : c->turn_end_ns;
	if (end != c->turn_end_ns) {
		c->turn_end_ns = end;
		arm_timer(c, cpu, now);
	}
}

void BPF_STRUCT_OPS(spare_stopping, struct task_struct *p, bool runnable)
{
	struct cpu_ctx *c = cpu_ctx(task_cpu(p));

	if (!c)
		return;
	if (c->cur == SPARE_NO_SLOT) {
		host_stopping(c, p, runnable);
		if (!c->host.servers && !c->host.stray) {
			c->left_pid = 0;
			return;
		}
	}
	stop_task(c, p, runnable);
	c->host.stray = 0;
}

/* Of threads that may not share a core the first in this order runs. */
bool BPF_STRUCT_OPS(spare_core_sched_before, struct task_struct *a, struct task_struct *b)
{
	return core_before(a, b);
}

SEC(".struct_ops.link")
struct sched_ext_ops sched_spare_ops = {
	.select_cpu	= (void *)spare_select_cpu,
	.enqueue	= (void *)spare_enqueue,
	.dispatch	= (void *)spare_dispatch,
	.running	= (void *)spare_running,
	.update_idle	= (void *)spare_update_idle,
	.tick		= (void *)spare_tick,
	.stopping	= (void *)spare_stopping,
	.core_sched_before = (void *)spare_core_sched_before,
	.cpu_online	= (void *)spare_cpu_online,
	.cpu_offline	= (void *)spare_cpu_offline,
	.init_task	= (void *)spare_init_task,
	.enable		= (void *)spare_enable,
	.disable	= (void *)spare_disable,
	.set_cpumask	= (void *)spare_set_cpumask,
	.cgroup_move	= (void *)spare_cgroup_move,
	.init		= (void *)spare_init,
	.dump_cpu	= (void *)spare_dump_cpu,
	.exit		= (void *)spare_exit,
	/* Hard reservations need to hear of a thread that has used its slice even when it is the only one. */
	.flags		= SCX_OPS_ENQ_LAST | SCX_OPS_ENQ_EXITING | SCX_OPS_ENQ_MIGRATION_DISABLED | SCX_OPS_KEEP_BUILTIN_IDLE,
	.timeout_ms	= 30000,
	.name		= "sched_spare",
};
