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

static void notify_all(struct work_struct *work)
{
	struct kernfs_node *kn;
	struct vm *vm;

	guard(mutex)(&spare_config);
	list_for_each_entry(vm, &spare_vms, all) {
		if (!atomic_xchg(&vm->notify, 0) || vm->removed)
			continue;
		kn = kernfs_find_and_get(vm->css->cgroup->kn, "spare.events");
		if (!kn)
			continue;
		kernfs_notify(kn);
		kernfs_put(kn);
	}
}

/* Any context. */
void spare_event_notify(struct vm *vm)
{
	if (!atomic_xchg(&vm->notify, 1))
		irq_work_queue(&notify_irq);
}

void spare_event(struct vm *vm, enum spare_event ev)
{
	atomic64_inc((atomic64_t *)&vm->abi.ev[ev]);
	spare_event_notify(vm);
}

void spare_event_exit(void)
{
	irq_work_sync(&notify_irq);
	cancel_delayed_work_sync(&notify_work);
}
