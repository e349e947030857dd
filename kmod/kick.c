// SPDX-License-Identifier: GPL-2.0
/*
 * Preemption without run-queue locks: end the slice of what runs, ask for a reschedule, on that CPU, with IRQs
 * off.
 *
 * An unlocked slice = 0 may be overwritten by a CPU that holds the run-queue lock and is about to store the
 * slice it read before; the timer therefore repeats itself until the class answers (timer.c), and the class
 * looks at its budgets again in ops.tick and ops.running.
 */
#include <linux/irq_work.h>
#include <linux/percpu.h>
#include <linux/rcupdate.h>
#include <linux/sched.h>
#include <linux/sched/ext.h>
#include <linux/smp.h>
#include <asm/irq_regs.h>
#include "kick.h"

static DEFINE_PER_CPU(struct spare_ipi, kicks);

#ifdef CONFIG_SCHED_CORE
/*
 * Under core scheduling a CPU dispatches for its siblings after itself: what that brings it is for after this switch, in which a wish to reschedule is
 * forgotten.
 */
static DEFINE_PER_CPU(int, dispatches);
static DEFINE_PER_CPU(struct irq_work, later);

static void kick_later(struct irq_work *work)
{
	spare_kick_current();
}

/**
 * spare_kick_dispatches - ops.dispatch begins
 * @cpu: for this CPU, or a sibling
 *
 * Context: under its run-queue lock, IRQs off.
 */
void spare_kick_dispatches(int cpu)
{
	__this_cpu_write(dispatches, cpu);
}

static bool is_for_later(int cpu)
{
	return __this_cpu_read(dispatches) != cpu && irq_work_queue(this_cpu_ptr(&later));
}

static void later_init(int cpu)
{
	*per_cpu_ptr(&later, cpu) = IRQ_WORK_INIT_HARD(kick_later);
	per_cpu(dispatches, cpu) = cpu;
}

static void later_wait(void)
{
	unsigned int cpu;

	for_each_possible_cpu(cpu)
		irq_work_sync(per_cpu_ptr(&later, cpu));
}
#else
static bool is_for_later(int cpu)
{
	return false;
}

static void later_init(int cpu)
{
}

static void later_wait(void)
{
}
#endif

/**
 * spare_ipi_init - make an interrupt
 * @ipi: it
 * @handler: called by hard IRQ, or by an idle task that is about to look at its queue; calls spare_ipi_handled() before it looks at anything
 * @info: its argument
 *
 * Context: any.
 */
void spare_ipi_init(struct spare_ipi *ipi, smp_call_func_t handler, void *info)
{
	INIT_CSD(&ipi->csd, handler, info);
}

/**
 * spare_ipi_send - send it, unless it is on its way
 * @ipi: what
 * @cpu: where to; one that is offline gets none
 *
 * Context: preemption off.
 */
void spare_ipi_send(struct spare_ipi *ipi, int cpu)
{
	if (cpu_online(cpu) && !atomic_xchg(&ipi->pending, 1) && smp_call_function_single_async(cpu, &ipi->csd))
		atomic_set(&ipi->pending, 0);
}

/**
 * spare_ipi_handled - it has come; one that is wanted from here on is sent again
 * @ipi: which
 *
 * Context: its handler.
 */
void spare_ipi_handled(struct spare_ipi *ipi)
{
	atomic_set(&ipi->pending, 0);
	smp_mb__after_atomic();	/* pairs with the xchg in spare_ipi_send() */
}

/**
 * spare_ipi_wait - wait for the last one
 * @ipi: which; nobody sends it any more
 * @cpu: where to
 *
 * The last handler may still run when this returns.
 *
 * Context: sleeps.
 */
void spare_ipi_wait(struct spare_ipi *ipi, int cpu)
{
	while (cpu_online(cpu) && atomic_read(&ipi->pending))
		cond_resched();
}

/*
 * A thread that is being put has in ops.enqueue already been given the slice of its next run (7.2 writes it when it is
 * inserted, 7.3 afterwards): at 0 the kernel would replace it by its default of 20 ms. Returns whether @p is a task of the class.
 */
static bool end_slice(struct task_struct *p)
{
	bool ours = p->scx.flags & SCX_TASK_QUEUED;

	if (ours && !atomic_long_read(&p->scx.ops_state) && !READ_ONCE(p->scx.dsq))	/* SCX_OPSS_NONE: it runs */
		WRITE_ONCE(p->scx.slice, 0);
	return ours;
}

/**
 * spare_kick_leaving - let what runs leave the kernel first
 *
 * The time of what runs is over, but it may hold a lock that others want. Not so a vCPU in its guest, which holds none, and threads that have no
 * way out.
 *
 * Context: hard IRQ.
 * Return: true: it is in the kernel, and is made to reschedule on its way out.
 */
bool spare_kick_leaving(void)
{
	struct pt_regs *regs = get_irq_regs();
	struct task_struct *p = current;

	if (!regs || user_mode(regs) || p->flags & (PF_VCPU | PF_KTHREAD | PF_USER_WORKER) || !end_slice(p))
		return false;
	set_tsk_thread_flag(p, TIF_NEED_RESCHED_LAZY);
	return true;
}

/**
 * spare_kick_current - make this CPU reschedule
 *
 * Context: preemption off.
 * Return: true: a task of the class runs.
 */
bool spare_kick_current(void)
{
	struct task_struct *p = current;
	bool ours = end_slice(p);

	set_tsk_need_resched(p);
	set_preempt_need_resched();
	return ours;
}

static void kick_handler(void *info)
{
	spare_ipi_handled(info);
	spare_kick_current();
}

/**
 * spare_kick_cpu - make a CPU reschedule
 * @cpu: a possible one; nothing happens where it is offline
 *
 * Context: any; another CPU gets an interrupt.
 */
void spare_kick_cpu(int cpu)
{
	preempt_disable();
	if (cpu != smp_processor_id())
		spare_ipi_send(per_cpu_ptr(&kicks, cpu), cpu);
	else if (!is_for_later(cpu))
		spare_kick_current();
	preempt_enable();
}

/**
 * spare_kick_online - make all of them: what runs anywhere may have to be judged again
 *
 * Context: process.
 */
void spare_kick_online(void)
{
	unsigned int cpu;

	for_each_online_cpu(cpu)
		spare_kick_cpu(cpu);
}

/**
 * spare_kick_init - before the first kick
 *
 * Context: process, at load.
 * Return: 0.
 */
int spare_kick_init(void)
{
	unsigned int cpu;

	for_each_possible_cpu(cpu) {
		spare_ipi_init(per_cpu_ptr(&kicks, cpu), kick_handler, per_cpu_ptr(&kicks, cpu));
		later_init(cpu);
	}
	return 0;
}

/**
 * spare_kick_exit - nobody kicks any more: wait for the last ones
 *
 * Context: process, at unload.
 */
void spare_kick_exit(void)
{
	unsigned int cpu;

	for_each_possible_cpu(cpu)
		spare_ipi_wait(per_cpu_ptr(&kicks, cpu), cpu);
	later_wait();
	synchronize_rcu();	/* the handler may still be between its store and its return */
}
