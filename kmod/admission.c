// SPDX-License-Identifier: GPL-2.0
/*
 * CBS-6: on each CPU, the utilizations of reservations and providers sum to at most limit_ppm. EDF with
 * implicit deadlines is feasible up to 1 (Liu and Layland, 1973); what is left belongs to the host.
 */
#include <linux/cgroup.h>
#include <linux/delay.h>
#include <linux/jiffies.h>
#include <linux/moduleparam.h>
#include <linux/seq_file.h>
#include "admission.h"
#include "class.h"
#include "kick.h"
#include "server.h"
#include "vm.h"

static unsigned int limit_ppm = 900000;

static int limit_set(const char *val, const struct kernel_param *kp)
{
	return param_set_uint_minmax(val, kp, 1, SPARE_PPM);
}

static const struct kernel_param_ops limit_ops = {
	.set	= limit_set,
	.get	= param_get_uint,
};

module_param_cb(limit_ppm, &limit_ops, &limit_ppm, 0644);
MODULE_PARM_DESC(limit_ppm, "most of a CPU that reservations and providers may take, in parts per million (900000)");

/* It counts: not withdrawn, nor about to be because its cgroup is dying (DESIGN section 5). */
static bool counts(const struct spare_server_kern *srv)
{
	return !srv->withdrawn && !css_is_dying(srv->vm->css);
}

/* What everybody but @vm has on @cpu; SCHED_DEADLINE threads too, which go before every reservation. */
static u32 others_ppm(struct spare_vm_kern *vm, unsigned int cpu)
{
	u32 slot, sum = READ_ONCE(per_cpu_ptr(spare_cpus, cpu)->deadline_ppm);

	for (slot = 0; slot < SPARE_SLOTS; slot++) {
		struct spare_server_kern *srv = spare_server_at(cpu, slot);

		if (srv && srv->vm != vm && counts(srv))
			sum += spare_util_ppm(srv->vm->cfg.res.runtime_us, srv->vm->cfg.res.period_us);
	}
	return sum;
}

/*
 * The class sees what deadline threads hold when a CPU next looks for work. One that has idled since they left has not looked:
 * make it, and say whether that changed anything.
 */
static bool deadline_changes(unsigned int cpu)
{
	const u32 *ppm = &per_cpu_ptr(spare_cpus, cpu)->deadline_ppm;
	u32 before = READ_ONCE(*ppm);

	if (!before || !spare_class_attached())
		return false;
	spare_kick_cpu(cpu);
	usleep_range(500, 1000);
	return READ_ONCE(*ppm) != before;
}

/**
 * spare_admission_check - does a reservation fit on CPUs?
 * @vm: who asks; what it has is not counted
 * @cpus: bitmap of nr_cpu_ids bits
 * @res: the whole of what it would have on each of them
 *
 * Context: process, under spare_config; waits for up to a millisecond for a CPU that is full.
 * Return: 0; -EBUSY, and a line in the log that names the first full CPU.
 */
int spare_admission_check(struct spare_vm_kern *vm, const unsigned long *cpus, const struct spare_reservation *res)
{
	u32 ask = spare_util_ppm(res->runtime_us, res->period_us), limit = READ_ONCE(limit_ppm);
	char path[160];
	unsigned int cpu;

	lockdep_assert_held(&spare_config);
	for_each_set_bit(cpu, cpus, nr_cpu_ids) {
		u32 others = others_ppm(vm, cpu), free;
		u16 own = vm->slot[cpu];

		if (others + ask > limit && deadline_changes(cpu))
			others = others_ppm(vm, cpu);
		free = others < limit ? limit - others : 0;
		if (ask <= free)
			continue;
		/* limit_ppm may have been lowered: what asks for no more than it has is not refused. */
		if (own != SPARE_NO_SLOT && ask <= spare_util_ppm(vm->cfg.res.runtime_us, vm->cfg.res.period_us))
			continue;
		pr_info("%s: CPU %u is full: %u us / %u us asked, at most %llu us / %u us fits (limit %u ppm, %u ppm taken)\n",
			spare_vm_path(vm, path, sizeof(path)), cpu, res->runtime_us, res->period_us,
			(u64)free * res->period_us / SPARE_PPM, res->period_us, limit, others);
		return -EBUSY;
	}
	return 0;
}

/**
 * spare_admission_show - the text of spare.host: what is taken of each CPU besides reservations, for who plans
 * @m: where to
 *
 * One that has idled since looks first: asked for at most ten times a second, however many read.
 *
 * Context: process, no locks; may sleep.
 */
void spare_admission_show(struct seq_file *m)
{
	static unsigned long next = INITIAL_JIFFIES;
	unsigned long due = READ_ONCE(next);
	bool kicked = false;
	unsigned int cpu;

	if (time_after_eq(jiffies, due) && cmpxchg(&next, due, jiffies + HZ / 10) == due)
		for_each_online_cpu(cpu) {
			if (!READ_ONCE(per_cpu_ptr(spare_cpus, cpu)->deadline_ppm))
				continue;
			spare_kick_cpu(cpu);
			kicked = true;
		}
	if (kicked)
		usleep_range(500, 1000);
	for_each_online_cpu(cpu)
		seq_printf(m, "cpu%u.deadline_ppm %u\n", cpu, READ_ONCE(per_cpu_ptr(spare_cpus, cpu)->deadline_ppm));
}
