// SPDX-License-Identifier: GPL-2.0
/*
 * The class needs a queue for each server and can make one only where it may sleep: when it is loaded and when somebody forks. So the
 * module says how many it wants, and forks when a write needs more (CBS-12).
 */
#include <linux/delay.h>
#include <linux/kthread.h>
#include <linux/workqueue.h>
#include <sched_spare/abi.h>
#include "class.h"
#include "stock.h"
#include "vm.h"

#define AHEAD 64		/* made beyond what a write needs */

static u32 wanted = AHEAD;	/* written under spare_config */
static u32 made;		/* by the class that is attached */

/**
 * spare_stock_suffices - ask for queues (CBS-12)
 * @servers: that there are to be
 *
 * Context: process, under spare_config.
 * Return: true: the class has as many; false: spare_stock_make() is to be called.
 */
bool spare_stock_suffices(unsigned int servers)
{
	lockdep_assert_held(&spare_config);
	if (wanted < servers)
		WRITE_ONCE(wanted, min_t(u32, servers + AHEAD, SPARE_SLOTS * num_possible_cpus()));
	return !spare_class_attached() || READ_ONCE(made) >= servers;
}

static int nothing(void *unused)
{
	return 0;
}

/* The class makes the queues that are wanted whenever somebody forks (ops.init_task). */
static void fork_work_fn(struct work_struct *work)
{
	struct task_struct *p = kthread_create(nothing, NULL, "sched_spare");

	if (!IS_ERR(p))
		kthread_stop(p);
}

static DECLARE_WORK(fork_work, fork_work_fn);

/**
 * spare_stock_make - have the class make them
 *
 * Context: process, no locks; for a fifth of a second at most (vm.h).
 */
void spare_stock_make(void)
{
	int tries;

	schedule_work(&fork_work);
	for (tries = 0; tries < 200 && READ_ONCE(made) < READ_ONCE(wanted); tries++)
		usleep_range(500, 1000);
}

/**
 * spare_stock_wanted - how many the class shall have
 *
 * Context: any.
 * Return: queues.
 */
u32 spare_stock_wanted(void)
{
	return READ_ONCE(wanted);
}

/**
 * spare_stock_made - how many it has
 * @queues: in all; several who fork may say so, in any order
 *
 * Context: any.
 */
void spare_stock_made(u32 queues)
{
	u32 old = READ_ONCE(made);

	while (old < queues && !try_cmpxchg(&made, &old, queues))
		;
}

/**
 * spare_stock_reset - a class begins, and has made none
 *
 * Context: any.
 */
void spare_stock_reset(void)
{
	WRITE_ONCE(made, 0);
}

/**
 * spare_stock_exit - nobody is on his way to fork
 *
 * Context: process, at unload; no VM is left.
 */
void spare_stock_exit(void)
{
	cancel_work_sync(&fork_work);
}
