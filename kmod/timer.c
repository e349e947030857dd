// SPDX-License-Identifier: GPL-2.0
/*
 * One hrtimer per CPU, pinned, in hard IRQ context: a packet flood delays soft timers exactly when a budget
 * must end. The class arms it for the next instant that matters on its CPU (budget, replenishment, deadline of
 * a mark). Under core scheduling a CPU picks for its siblings, too: their timers they program themselves, asked to by an interrupt.
 *
 * Fired, it repeats until the class arms it again: a slice = 0 can be lost (kick.c), and while another
 * scheduling class runs there is nobody to answer yet.
 *
 * The answer is a look of ops.dispatch. While sched_ext bypasses the class (it ends, or the machine goes to sleep) threads run and arm
 * the timer, and nobody looks: for a time that has passed it would fire without end, and no thread would get anywhere, nor the kernel's that
 * ends the bypass. So what is unanswered fires ever later.
 */
#include <linux/hrtimer.h>
#include <linux/percpu.h>
#include <sched_spare/abi.h>
#include "class.h"
#include "kick.h"
#include "timer.h"

/*
 * A task of the class runs: the kick was lost, or preemption is off. Twice as long each time: where an interrupt costs
 * as much as the distance between two (an emulated, overloaded CPU), nothing else would run.
 */
#define AGAIN_NS	(50 * NSEC_PER_USEC)
#define AGAIN_MAX_NS	(4 * NSEC_PER_MSEC)
#define LATER_NS	NSEC_PER_MSEC		/* somebody else runs */

#define FIRED		1ULL

enum asked {
	ASKED_NOT,	/* or this CPU has armed it itself since */
	ASKED,
	ASKED_ARMED,	/* and it is armed for that */
};

struct budget_timer {
	struct hrtimer timer;
	u64 when_ns;	/* what it is armed for; 0: not armed; FIRED: it has fired and repeats until the class answers */
	u64 end_ns;	/* from then on what runs may leave the kernel first; 0: it may not, or has been let to */
	u64 again_ns;	/* fires so much later at the earliest */
	int cpu;
	struct spare_ipi ipi;
	u64 asked_when_ns;	/* what another CPU has asked for, */
	u64 asked_end_ns;
	enum asked asked;
};

static DEFINE_PER_CPU(struct budget_timer, timers);
/* It has fired at a task of the class, which has not looked since. */
DEFINE_PER_CPU(bool, spare_timer_unanswered);

static enum hrtimer_restart fired(struct hrtimer *timer)
{
	struct budget_timer *t = container_of(timer, struct budget_timer, timer);

	/* Detached, or moved here because its CPU went away. */
	t->when_ns = FIRED;
	if (!spare_class_attached() || t->cpu != smp_processor_id())
		return HRTIMER_NORESTART;
	if (t->end_ns && ktime_get_ns() >= t->end_ns && spare_kick_leaving()) {
		t->end_ns = 0;
		__this_cpu_write(spare_timer_unanswered, true);
		hrtimer_forward_now(timer, ns_to_ktime(SPARE_LEAVE_NS));
	} else if (spare_kick_current()) {
		__this_cpu_write(spare_timer_unanswered, true);
		hrtimer_forward_now(timer, ns_to_ktime(t->again_ns));
		t->again_ns = min_t(u64, 2 * t->again_ns, AGAIN_MAX_NS);
	} else {
		hrtimer_forward_now(timer, ns_to_ktime(LATER_NS));
	}
	return HRTIMER_RESTART;
}

/*
 * IRQs off, on the timer's CPU. The class says so at every switch, and programming the clock is dear, most of all on a host that is itself a
 * guest: what is armed already is left alone.
 */
static void arm(struct budget_timer *t, u64 when_ns, u64 end_ns)
{
	struct hrtimer *timer = &t->timer;

	t->end_ns = end_ns;
	if (!this_cpu_read(spare_timer_unanswered))
		t->again_ns = AGAIN_NS;
	else if (when_ns)
		when_ns = max(when_ns, ktime_get_ns() + t->again_ns);
	if (when_ns == t->when_ns && (!when_ns || hrtimer_is_queued(timer)))
		return;
	t->when_ns = when_ns;
	if (when_ns)
		hrtimer_start(timer, ns_to_ktime(min_t(u64, when_ns, KTIME_MAX)), HRTIMER_MODE_ABS_PINNED_HARD);
	else
		hrtimer_try_to_cancel(timer);
}

/* Hard IRQ. */
static void arm_asked(void *info)
{
	struct budget_timer *t = info;

	spare_ipi_handled(&t->ipi);
	if (cmpxchg(&t->asked, ASKED, ASKED_ARMED) == ASKED && spare_class_attached())
		arm(t, READ_ONCE(t->asked_when_ns), READ_ONCE(t->asked_end_ns));
}

/**
 * spare_timer_set - arm a CPU's timer
 * @cpu: this one, or under core scheduling a sibling
 * @when_ns: of CLOCK_MONOTONIC; 0 cancels
 * @end_ns: from then on what runs may leave the kernel first; 0: it may not
 *
 * Siblings share the lock: who asks last is who knows.
 *
 * Context: under the run-queue lock of @cpu, IRQs off.
 */
void spare_timer_set(unsigned int cpu, u64 when_ns, u64 end_ns)
{
	struct budget_timer *t = per_cpu_ptr(&timers, cpu);

	if (likely(cpu == smp_processor_id())) {
		t->asked = ASKED_NOT;
		arm(t, when_ns, end_ns);
		return;
	}
	/* (Two siblings that idle would wake each other without end.) */
	if (READ_ONCE(t->asked) != ASKED_NOT && t->asked_when_ns == when_ns && t->asked_end_ns == end_ns && READ_ONCE(t->when_ns) != FIRED)
		return;
	WRITE_ONCE(t->asked_when_ns, when_ns);
	WRITE_ONCE(t->asked_end_ns, end_ns);
	smp_store_release(&t->asked, ASKED);	/* pairs with the cmpxchg in arm_asked() */
	spare_ipi_send(&t->ipi, cpu);
}

/**
 * spare_timer_stop - disarm the timer of a CPU
 * @cpu: a possible one
 *
 * Context: any; the class is detached, which a callback that runs right now sees.
 */
void spare_timer_stop(unsigned int cpu)
{
	WRITE_ONCE(per_cpu_ptr(&timers, cpu)->when_ns, 0);
	hrtimer_try_to_cancel(&per_cpu_ptr(&timers, cpu)->timer);
}

/**
 * spare_timer_init - before a class attaches
 *
 * Context: process, at load.
 * Return: 0.
 */
int spare_timer_init(void)
{
	unsigned int cpu;

	for_each_possible_cpu(cpu) {
		struct budget_timer *t = per_cpu_ptr(&timers, cpu);

		t->cpu = cpu;
		t->again_ns = AGAIN_NS;
		spare_ipi_init(&t->ipi, arm_asked, t);
		hrtimer_setup(&t->timer, fired, CLOCK_MONOTONIC, HRTIMER_MODE_ABS_PINNED_HARD);
	}
	return 0;
}

/**
 * spare_timer_exit - wait for all timers
 *
 * Context: process, at unload.
 */
void spare_timer_exit(void)
{
	unsigned int cpu;

	for_each_possible_cpu(cpu)
		spare_ipi_wait(&per_cpu_ptr(&timers, cpu)->ipi, cpu);
	synchronize_rcu();	/* a handler may still be between its store and its return */
	for_each_possible_cpu(cpu)
		hrtimer_cancel(&per_cpu_ptr(&timers, cpu)->timer);
}
