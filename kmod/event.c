// SPDX-License-Identifier: GPL-2.0
/*
 * The class counts under a run-queue lock, so telling is deferred twice: an irq_work leaves the lock, a
 * delayed work reaches process context and bundles what happened within NOTIFY_DELAY.
 *
 * cgroup_file_notify() needs a struct cgroup_file inside the css, which is not ours; kernfs_notify() on the
 * file does the same for poll(2) and inotify(7).
 */
#include <linux/atomic.h>
#include <linux/cgroup.h>
#include <linux/irq_work.h>
#include <linux/kernfs.h>
#include <linux/workqueue.h>
#include "event.h"
#include "vm.h"

#define NOTIFY_DELAY (HZ / 10)

static void notify_all(struct work_struct *work);
static DECLARE_DELAYED_WORK(notify_work, notify_all);

static void notify_soon(struct irq_work *work)
{
	schedule_delayed_work(&notify_work, NOTIFY_DELAY);
}

static struct irq_work notify_irq = IRQ_WORK_INIT_HARD(notify_soon);

/* The next VM after @vm (NULL: the first) whose event file has news, referenced; @vm's reference is dropped. @dir: its directory, referenced. */
static struct spare_vm_kern *next_notified(struct spare_vm_kern *vm, struct kernfs_node **dir)
{
	struct spare_vm_kern *prev = vm;

	guard(mutex)(&spare_config);
	vm = list_prepare_entry(vm, &spare_vms, all);
	if (prev && prev->removed) {
		schedule_delayed_work(&notify_work, NOTIFY_DELAY);	/* where it stood is not known: the others next time */
		spare_vm_put(prev);
		return NULL;
	}
	list_for_each_entry_continue(vm, &spare_vms, all) {
		if (!atomic_xchg(&vm->notify, 0))
			continue;
		*dir = vm->css->cgroup->kn;
		kernfs_get(*dir);
		spare_vm_get(vm);
		break;
	}
	if (prev)
		spare_vm_put(prev);
	return list_entry_is_head(vm, &spare_vms, all) ? NULL : vm;
}

static void notify_all(struct work_struct *work)
{
	struct kernfs_node *dir, *file;
	struct spare_vm_kern *vm = NULL;

	/* Finding a file takes a lock of kernfs: not under ours. */
	while ((vm = next_notified(vm, &dir))) {
		file = kernfs_find_and_get(dir, "spare.events");
		if (file)
			kernfs_notify(file);
		kernfs_put(file);
		kernfs_put(dir);
	}
}

/**
 * spare_event_notify - tell who polls spare.events
 * @vm: whose
 *
 * Context: any; @vm is held, by a reference or RCU.
 */
void spare_event_notify(struct spare_vm_kern *vm)
{
	if (!atomic_xchg(&vm->notify, 1))
		irq_work_queue(&notify_irq);
}

/**
 * spare_event - count an event and tell who polls
 * @vm: whose
 * @ev: which
 *
 * Context: any; @vm is held, by a reference or RCU.
 */
void spare_event(struct spare_vm_kern *vm, enum spare_event ev)
{
	atomic64_inc((atomic64_t *)&vm->abi.ev[ev]);
	spare_event_notify(vm);
}

/**
 * spare_event_exit - nobody is told any more
 *
 * Context: process, at unload; no locks.
 */
void spare_event_exit(void)
{
	irq_work_sync(&notify_irq);
	cancel_delayed_work_sync(&notify_work);
}
