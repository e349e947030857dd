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
 * Callbacks stand in the order of a thread's life; what comes and goes (servers, tasks, CPUs, the class) is in life.bpf.h. All state
 * of a CPU is changed under its run-queue lock (cpu.bpf.h); every CPU has queues of its own.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include <bpf/bpf_core_read.h>

char _license[] SEC("license") = "GPL";

#include "spare.bpf.h"
#include "kfuncs.bpf.h"
#include <sched_spare/abi.h>
#include <sched_spare/cbs.h>
#include <sched_spare/edf.h>
#include <sched_spare/spare.h>
#include <sched_spare/pool.h>
#include "queue.bpf.h"
#include "cpu.bpf.h"
#include "boost.bpf.h"
#include "deadline.bpf.h"
#include "task.bpf.h"
#include "host.bpf.h"
#include "account.bpf.h"
#include "life.bpf.h"
#include "dispatch.bpf.h"

/* LIFE-6: what this object was compiled against; user space compares before it loads. */
const volatile u32 spare_abi = SPARE_ABI;

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

/* Should the thread just queued in s take the CPU from whoever has it? */
static __always_inline bool preempts(struct cpu_ctx *c, const struct spare_server *s, bool front)
{
	const struct spare_server *by;
	u64 d = spare_deadline(&s->far, &s->cbs);

	if (s->state == SPARE_THROTTLED) {
		by = s->lender == SPARE_NO_SLOT ? NULL : server(s->cpu, s->lender);
		if (!by || !is_ready(c, by->slot))
			return false;
		d = by->cbs.d_ns;
	}
	if (c->cur == SPARE_NO_SLOT)
		return true;
	if (c->cur == s->slot)
		return front;
	by = server(s->cpu, c->by);
	return !by || spare_before(d, spare_deadline(&by->far, &by->cbs));
}

/* A thread of a VM becomes runnable, or a host task for which there is no short cut. */
__noinline int queue_task(struct task_struct *p __arg_trusted, u64 enq_flags)
{
	struct spare_vm *vm = task_vm(p);
	struct spare_server *s;
	struct task_ctx *t;
	struct cpu_ctx *c;
	bool put, front, net;
	s32 here, cpu;
	u32 slot;
	u64 now;

	t = vm ? task_ctx(p) : NULL;
	if (!t)
		return host_enqueue(p, enq_flags);
	now = bpf_ktime_get_ns();
	here = cpu = task_cpu(p);
	slot = task_may_run(p, here) ? spare_task_slot(p, here) : SPARE_NO_SLOT;
	if (slot == SPARE_NO_SLOT) {
		cpu = vm_cpu(p, here);
		slot = cpu < 0 ? SPARE_NO_SLOT : spare_task_slot(p, cpu);
	}
	s = slot == SPARE_NO_SLOT ? NULL : server(cpu, slot);
	c = cpu_ctx(here);
	if (s && c && cpu == here && server_is_news(s))
		server_configure(c, s, now);
	if (!s || !c || !s->dsq) {
		/* Its affinity excludes every server, or that has no queue yet: the host's, charged as debt (task_charge_stray). */
		if (s && !s->dsq)
			spare_attend(cpu, slot);
		return host_enqueue(p, enq_flags);
	}
	if (t->group)
		group_uncount(t);	/* the host's until now */
	if (enq_flags & SCX_ENQ_WAKEUP)
		t->ran_ns = t->turn_left = 0;
	front = t->ran_ns < SPARE_TURN_NS;
	net = is_net(p, vm, enq_flags & SCX_ENQ_WAKEUP);
	task_queued(t, s, net);
	task_place(t, s, vm, net, enq_flags & SCX_ENQ_WAKEUP, now);
	scx_bpf_dsq_insert_vtime(p, s->dsq, SPARE_SLICE_NS, t->key, enq_flags);
	if (cpu != here) {
		s->st.migrated++;
		forward(c, here, cpu, slot, p->pid);
		return 0;
	}
	put = c->put_pid == (u32)p->pid;
	c->put_pid = 0;
	if (s->state == SPARE_INACTIVE)
		server_wake(c, s, now);
	if (s->state == SPARE_THROTTLED) {
		boost_check(c, s, now);
		/* No server of the VM idles while this one is throttled: once the thread is queued, siblings are told. */
		if (server_has_sibling(s)) {
			__sync_fetch_and_or(&s->pending, SPARE_PEND_OFFER);
			spare_attend(cpu, slot);
		}
	} else if (net && server_waits(s, vm))
		server_hasten(c, s, now);
	/* A thread that is being put gives way to a choice that dispatch has just made. */
	if (!put && preempts(c, s, front))
		spare_kick(cpu);
	else if (s->state == SPARE_THROTTLED && !put)
		spare_kick(cpu);	/* its replenishment needs the timer of that CPU */
	else if (s->state == SPARE_THROTTLED && preempts(c, s, front))
		spare_timer_arm(now);	/* lent a provider after dispatch has chosen; idle would not look */
	return 0;
}

void BPF_STRUCT_OPS(spare_enqueue, struct task_struct *p, u64 enq_flags)
{
	struct cpu_ctx *c = cpu_ctx(task_cpu(p));

	if (!c || servers_total || host_limits || !host_short_cut(c, p, enq_flags))
		queue_task(p, enq_flags);
}

/* ---- a CPU looks for work ----------------------------------------------------------------------------------------- */

void BPF_STRUCT_OPS(spare_dispatch, s32 cpu, struct task_struct *prev)
{
	struct cpu_ctx *c = cpu_ctx(cpu);
	struct spare_server *by, *s;
	bool prev_runs, prev_host;
	u32 slot, cur;
	u64 now, key;
	int i;

	if (!c)
		return;
	prev_runs = prev && prev->scx.flags & SCX_TASK_QUEUED;
	forward_flush(c);
	slot = spare_attention(cpu);
	if (!prev || c->host.servers)
		deadline_look(c, cpu);
	if (!c->host.servers && slot == SPARE_NO_SLOT) {
		prev_host = prev_runs && !task_vm(prev);
		if (!kthread_dispatch(&c->host, cpu, prev_host ? prev : NULL))
			host_dispatch(&c->host, cpu, prev_host ? prev : NULL);
		if (c->host.armed || c->host.park_ns || c->host.grant_end_ns)
			spare_timer_arm(next_event(c));
		return;
	}
	now = bpf_ktime_get_ns();
	charge(c, cpu, now);
	attend(c, cpu, slot, now);
	replenish(c, cpu, now);
	c->taken_to = 0;
	/* Its VM may have lost or won a reservation while it ran. */
	cur = c->cur;
	if (prev_runs && cur != SPARE_NO_SLOT && spare_task_slot(prev, cpu) != cur)
		cur = SPARE_NO_SLOT, prev_runs = false;
	prev_host = prev_runs && cur == SPARE_NO_SLOT && !task_vm(prev);
	c->pick = SPARE_NO_SLOT;
	if (kthread_dispatch(&c->host, cpu, prev_host ? prev : NULL)) {
		spare_timer_arm(next_replenishment(c));
		return;
	}
	if (host_floor_due(&c->host, prev_host, now) && host_dispatch(&c->host, cpu, prev_host ? prev : NULL)) {
		host_floor_limit(&c->host);
		spare_timer_arm(next_event(c));
		return;
	}
	bpf_for(i, 0, SPARE_SLOTS) {
		slot = spare_edf_top(&c->ready, &key);
		if (slot == SPARE_NO_SLOT)
			break;
		by = server(cpu, slot);
		if (!by) {
			heap_del(&c->ready, slot);
			continue;
		}
		s = by->borrower == SPARE_NO_SLOT ? NULL : server(cpu, by->borrower);
		if (s && run_from(c, s, by, prev, prev_runs && cur == s->slot, now))
			return;
		if (run_from(c, by, by, prev, prev_runs && cur == slot, now))
			return;
		if (server_pull(by)) {
			c->pick = c->pick_by = slot;
			return;
		}
		server_inactive(c, by, now);
		/* A marked server whose threads all sleep after first service needs its provider no more. */
		if (s && s->mark.phase == SPARE_MARK_SERVED) {
			boost_release(c, s, now);
			boost_settle(c, s, now);
		}
	}
	host_dispatch(&c->host, cpu, prev_host ? prev : NULL);
	spare_timer_arm(next_event(c));
}

/* ---- a thread runs ------------------------------------------------------------------------------------------------ */

/* The network thread starts to run: first service of every packet seen so far (SPARE-4). */
static __always_inline void first_service(struct cpu_ctx *c, struct spare_server *s, struct spare_vm *vm, u64 now)
{
	u64 lat = now - s->mark.since_ns;

	if (s->mark.phase == SPARE_MARK_ARRIVED || s->mark.phase == SPARE_MARK_WOKEN) {
		s->st.lat[spare_lat_bucket(lat) & (SPARE_LAT_BUCKETS - 1)]++;
		s->st.lat_sum_ns += lat;
		if (lat > s->st.lat_max_ns)
			s->st.lat_max_ns = lat;
		spare_mark_serve(&s->mark);
	}
	if (vm->rx_seq == s->rx_served)
		return;
	s->rx_served = vm->rx_seq;
	s->svc_pending = 1;
	boost_settle(c, s, now);
	/* The vCPU that it kicks may wait in a THROTTLED server of another CPU (SPARE-2). */
	if (vm->nr_throttled > (s->state == SPARE_THROTTLED) || vm->flags & SPARE_VM_HASTEN)
		vm_service_elsewhere(vm, s, now);
}

/* A thread begins to run while there are servers. */
__noinline int run_task(struct cpu_ctx *c __arg_nonnull, struct task_struct *p __arg_trusted)
{
	s32 cpu = task_cpu(p);
	struct spare_vm *vm = task_vm(p);
	struct task_ctx *t;
	struct spare_server *s = NULL, *by;
	u32 slot = SPARE_NO_SLOT, payer = SPARE_NO_SLOT;
	u64 key, turn;
	bool picked, arm, early, floor;
	u64 now;

	/* The kernel does not call dispatch while its local queue has something. */
	early = forward_too_early(c);
	if (!early)
		forward_flush(c);
	if (!vm) {
		arm = host_running(c, p);
		if (!c->host.servers) {
			if (early)
				spare_timer_arm(bpf_ktime_get_ns());
			else if (arm)
				spare_timer_arm(next_event(c));
			return 0;
		}
	} else if (c->host.idle) {
		host_idle(&c->host, false);
	}
	t = task_ctx(p);
	if (!t)
		return 0;
	now = bpf_ktime_get_ns();
	task_unqueued(t);
	if (vm)
		slot = spare_task_slot(p, cpu);
	if (slot != SPARE_NO_SLOT)
		s = server(cpu, slot);
	t->stray = vm && !s;
	if (t->stray) {
		host_running(c, p);
		c->host.stray = 1;
	}
	t->start_ns = now;
	c->put_pid = 0;
	if (!s) {
		c->cur = SPARE_NO_SLOT;
		c->pick = SPARE_NO_SLOT;
		floor = !is_percpu_kthread(p) && host_floor_runs(&c->host, now);
		/*
		 * Look again at once when it came past dispatch (a higher class let it go on) while a server waits, or
		 * when it has just moved into a VM that has a server for it elsewhere (and only then: a timer that fires
		 * at every switch leaves no time to run).
		 */
		if (early || (spare_edf_top(&c->ready, &key) != SPARE_NO_SLOT && !(p->flags & PF_KTHREAD) && !floor) ||
		    (vm && task_server_elsewhere(p, cpu)))
			spare_timer_arm(now);
		else
			arm_timer(c, cpu, now);
		now = bpf_ktime_get_ns();
		charge_switch(c, cpu, now);
		c->stamp_ns = now;
		return 0;
	}
	/* It moved into the VM while it ran: that wakes the server. */
	if (s->state == SPARE_INACTIVE)
		server_wake(c, s, now);
	picked = c->pick == slot && is_ready(c, c->pick_by);
	if (picked)
		payer = c->pick_by;
	else if (is_ready(c, slot))
		payer = slot;
	else if (is_ready(c, s->lender))
		payer = s->lender;
	c->pick = SPARE_NO_SLOT;
	c->cur = slot;
	c->by = payer == SPARE_NO_SLOT ? slot : payer;
	if (c->left != SPARE_NO_SLOT && now - c->turn_end_ns < SPARE_TURN_MIN_NS)
		c->switch_ns = now - c->turn_end_ns;
	turn = server_turn(s);
	c->turn_end_ns = t->turn_left && t->turn_left < turn ? spare_turn_resume(now, t->turn_left) : spare_turn_end(now, turn, c->switch_ns);
	t->turn_left = 0;
	if (c->by != slot)
		s->mark.chances++;
	by = server(cpu, c->by);
	if (by && payer != SPARE_NO_SLOT)
		by->state = SPARE_RUNNING;
	c->kind = task_kind(p);
	c->net = is_net(p, vm, t->woke);
	c->run_ns = 0;
	if (c->net)
		first_service(c, s, vm, now);
	t->woke = false;
	/*
	 * It came past dispatch (a higher class let it go on), or whoever was put since was lent a provider with an earlier
	 * deadline: whoever is to run now, dispatch must say.
	 */
	if (early || !picked || spare_edf_top(&c->ready, &key) != c->by)
		spare_timer_arm(now);
	else
		arm_timer(c, cpu, now);
	now = bpf_ktime_get_ns();
	charge_switch(c, cpu, now);
	c->stamp_ns = now;
	return 0;
}

void BPF_STRUCT_OPS(spare_running, struct task_struct *p)
{
	struct cpu_ctx *c = cpu_ctx(task_cpu(p));

	if (!c)
		return;
	if (servers_total)
		run_task(c, p);
	else if (host_runs(c, p))
		spare_timer_arm(next_event(c));
}

/* Nothing to run: the switch to idle is the leaving thread's, too. */
__noinline int idle_begins(s32 cpu)
{
	struct cpu_ctx *c = cpu_ctx(cpu);

	if (!c)
		return 0;
	host_idle(&c->host, true);
	if (c->fwd_slot != SPARE_NO_SLOT)
		spare_timer_arm(bpf_ktime_get_ns());
	if (c->host.servers && c->left != SPARE_NO_SLOT)
		charge_switch(c, cpu, bpf_ktime_get_ns());
	return 0;
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
	if (c->cur == SPARE_NO_SLOT) {
		deadline_look(c, cpu);
		host_tick(&c->host, p);
		return;
	}
	now = bpf_ktime_get_ns();
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

/* What the host runs before the servers, the first of them that is ready has lost. */
static __always_inline void host_stops(struct cpu_ctx *c, s32 cpu, u64 used, u64 now)
{
	struct spare_server *s;
	u64 key;

	if (c->host.floor) {
		s = server(cpu, spare_edf_top(&c->ready, &key));
		if (s)
			s->st.stolen_ns += used;
	}
	host_floor_stops(&c->host, used, now);
}

/* A VM's thread stops, or a host task on a CPU with servers, which host_stopping() has charged. */
__noinline int stop_task(struct cpu_ctx *c __arg_nonnull, struct task_struct *p __arg_trusted, bool runnable)
{
	s32 cpu = task_cpu(p);
	struct task_ctx *t = task_ctx(p);
	struct spare_server *s, *by;
	struct spare_vm *vm;
	u64 now;

	if (!t)
		return 0;
	now = bpf_ktime_get_ns();
	if (c->cur == SPARE_NO_SLOT) {
		if (t->stray)
			task_charge_stray(p, now - t->start_ns);
		if (!is_percpu_kthread(p))
			host_stops(c, cpu, now - t->start_ns, now);
	} else {
		s = server(cpu, c->cur);
		by = server(cpu, c->by);
		vm = task_vm(p);
		charge(c, cpu, now);
		if (by && by->state == SPARE_RUNNING)
			by->state = SPARE_READY;
		/* A vCPU that sleeps has seen what there was. */
		if (!runnable && s && !c->net)
			s->svc_pending = 0;
		/* Going to sleep, it has drained what came; a packet of this very instant will wake it again. */
		if (!runnable && s && vm && is_net(p, vm, false) && now - vm->rx_ns > SPARE_DRAINED_NS)
			s->rx_served = vm->rx_seq;
		if (!runnable && s)
			server_asleep(c, s, now);
	}
	t->ran_ns += now - t->start_ns;
	t->turn_left = 0;
	if (runnable && c->cur != SPARE_NO_SLOT && spare_before(now + SPARE_TURN_REST_NS, c->turn_end_ns))
		t->turn_left = c->turn_end_ns - now;
	c->left = c->cur == SPARE_NO_SLOT ? SPARE_NO_SLOT : c->by;
	c->left_of = c->cur;
	c->left_pid = p->pid;
	c->stamp_ns = now;
	c->cur = SPARE_NO_SLOT;
	c->put_pid = runnable ? p->pid : 0;
	return 0;
}

void BPF_STRUCT_OPS(spare_stopping, struct task_struct *p, bool runnable)
{
	struct cpu_ctx *c = cpu_ctx(task_cpu(p));

	if (!c)
		return;
	if (c->cur == SPARE_NO_SLOT) {
		host_stopping(&c->host, p, runnable);
		if (!c->host.servers && !c->host.stray)
			return;
	}
	stop_task(c, p, runnable);
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
	.cpu_online	= (void *)spare_cpu_online,
	.cpu_offline	= (void *)spare_cpu_offline,
	.init_task	= (void *)spare_init_task,
	.enable		= (void *)spare_enable,
	.disable	= (void *)spare_disable,
	.cgroup_move	= (void *)spare_cgroup_move,
	.init		= (void *)spare_init,
	.exit		= (void *)spare_exit,
	/* Hard reservations need to hear of a thread that has used its slice even when it is the only one. */
	.flags		= SCX_OPS_ENQ_LAST | SCX_OPS_ENQ_EXITING | SCX_OPS_ENQ_MIGRATION_DISABLED | SCX_OPS_KEEP_BUILTIN_IDLE,
	.timeout_ms	= 30000,
	.name		= "sched_spare",
};
