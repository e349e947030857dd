// SPDX-License-Identifier: GPL-2.0
/*
 * spare.stat: sums over the servers of a VM, those that are gone included, so that no counter ever falls. Read
 * without the run-queue lock: each number is a true one of a moment ago, two of them need not be of the same
 * moment.
 */
#include <linux/seq_file.h>
#include "class.h"
#include "debt.h"
#include "guard.h"
#include "server.h"
#include "stat.h"
#include "tap.h"
#include "vm.h"

static const char *const event_names[SPARE_EV_NR] = {
	[SPARE_EV_EXHAUSTED]		= "exhausted",
	[SPARE_EV_BOOSTED]		= "boosted",
	[SPARE_EV_DENIED]		= "denied",
	[SPARE_EV_GUARDED]		= "guarded",
	[SPARE_EV_OVERRUN]		= "overrun",
	[SPARE_EV_PROVIDER_LOST]	= "provider_lost",
	[SPARE_EV_STRAY]		= "stray",
	[SPARE_EV_RT]			= "rt",
	[SPARE_EV_AFFINITY]		= "affinity",
};

#define STAT_AS(name, field) { name, offsetof(struct spare_stats, field) }
#define STAT(field) STAT_AS(#field, field)

static const struct {
	const char *name;
	size_t offset;
} stats[] = {
	STAT(used_ns), STAT(boost_ns), STAT(lent_ns), STAT(periods), STAT(throttled), STAT(throttled_ns),
	STAT(overrun_max_ns), STAT(overruns), STAT(misses), STAT(granted), STAT(denied), STAT(expired), STAT(unasked),
	STAT_AS("short", short_grant), STAT(short_gain), STAT(short_q),
	STAT(blocked), STAT(hastened), STAT(migrated), STAT(stray_ns), STAT(stolen_ns), STAT(valve_ns),
	STAT_AS("cost_paid_ns", repaid_ns), STAT_AS("cost_waived_ns", waived_ns), STAT(vcpu_ns), STAT(vhost_ns),
	STAT(lat_sum_ns), STAT(lat_max_ns),
};

static u64 sum_debt(struct spare_vm_kern *vm)
{
	unsigned int cpu;
	u64 sum = 0;

	guard(rcu)();
	for_each_possible_cpu(cpu) {
		struct spare_server_kern *srv = spare_server_at(cpu, spare_vm_slot_on(vm, cpu));

		if (srv)
			sum += READ_ONCE(srv->abi.debt_ns);
	}
	return sum;
}

static void show_latencies(const struct spare_stats *st, struct seq_file *m)
{
	unsigned int i;

	for (i = 0; i < SPARE_LAT_BUCKETS - 1; i++)
		seq_printf(m, "lat_us_le_%u %llu\n", 64U << i, st->lat[i]);
	seq_printf(m, "lat_us_le_inf %llu\n", st->lat[i]);
}

/* The server on one CPU. A throttled one is replenished at d_ns (CLOCK_MONOTONIC). */
static void show_server(const struct spare_server_kern *srv, unsigned int cpu, struct seq_file *m)
{
	static const char *const states[] = {
		[SPARE_INACTIVE] = "inactive", [SPARE_READY] = "ready",
		[SPARE_RUNNING] = "running", [SPARE_THROTTLED] = "throttled",
	};
	struct spare_server s;

	/* At once: a period that begins between two of its figures would be in one and not in the other. */
	scoped_guard(irqsave)
		s = data_race(srv->abi);
	seq_printf(m, "cpu%u.state %s\n", cpu, s.state < ARRAY_SIZE(states) ? states[s.state] : "?");
	seq_printf(m, "cpu%u.q_ns %lld\n", cpu, s.cbs.q_ns);
	seq_printf(m, "cpu%u.d_ns %llu\n", cpu, s.cbs.d_ns);
	seq_printf(m, "cpu%u.used_ns %llu\n", cpu, s.st.used_ns);
	seq_printf(m, "cpu%u.periods %llu\n", cpu, s.st.periods);
	seq_printf(m, "cpu%u.overrun_max_ns %llu\n", cpu, s.st.overrun_max_ns);
	seq_printf(m, "cpu%u.misses %llu\n", cpu, s.st.misses);
	seq_printf(m, "cpu%u.cost_paid_ns %llu\n", cpu, s.st.repaid_ns);
	seq_printf(m, "cpu%u.claimed %d\n", cpu, s.borrower != SPARE_NO_SLOT);
}

static void show_servers(struct spare_vm_kern *vm, struct seq_file *m)
{
	unsigned int cpu;

	guard(rcu)();
	for_each_possible_cpu(cpu) {
		struct spare_server_kern *srv = spare_server_at(cpu, spare_vm_slot_on(vm, cpu));

		if (srv)
			show_server(srv, cpu, m);
	}
}

/**
 * spare_stat_show - the text of spare.stat
 * @vm: NULL: nobody has written to the cgroup's files
 * @m: where to
 *
 * Context: process, without spare_config: no writer is waited for.
 */
void spare_stat_show(struct spare_vm_kern *vm, struct seq_file *m)
{
	bool cpus_auto = false, use_auto = true;
	struct spare_debt_sum debt = { };
	struct spare_stats st = { };
	unsigned int i, nr = 0;

	/* Copied, not printed, under the lock: a reader may be stopped anywhere, by its own cpu.max. */
	if (vm) {
		guard(spinlock)(&vm->lock);
		spare_server_sum(vm, &st);
		debt = spare_debt_sum(vm);
		cpus_auto = vm->cfg.cpus_auto;
		use_auto = !vm->use_manual;
		nr = vm->nr_servers;
	}
	seq_printf(m, "class %d\n", spare_class_attached());
	seq_printf(m, "placed %d\n", !!nr);
	seq_printf(m, "cpus_auto %d\n", cpus_auto);
	seq_printf(m, "use_auto %d\n", use_auto);
	seq_printf(m, "nr_servers %u\n", nr);
	seq_printf(m, "nr_throttled %u\n", vm ? READ_ONCE(vm->abi.nr_throttled) : 0);
	for (i = 0; i < ARRAY_SIZE(stats); i++)
		seq_printf(m, "%s %llu\n", stats[i].name, *(u64 *)((void *)&st + stats[i].offset));
	seq_printf(m, "debt_ns %llu\n", vm ? sum_debt(vm) + debt.owed_ns : 0);
	seq_printf(m, "cost_ns %llu\n", debt.charged_ns);
	seq_printf(m, "cost_owed_ns %llu\n", debt.owed_ns);
	seq_printf(m, "rt_ns %llu\n", vm ? READ_ONCE(vm->abi.rt_ns) : 0);
	seq_printf(m, "rx_packets %llu\n", vm ? READ_ONCE(vm->abi.rx_seq) : 0);
	spare_tap_show_packets(vm, m);
	spare_guard_show_stat(vm, m);
	show_latencies(&st, m);
	if (vm)
		show_servers(vm, m);
}

/**
 * spare_stat_show_events - the text of spare.events
 * @vm: NULL: as there
 * @m: where to
 *
 * Context: process, no lock.
 */
void spare_stat_show_events(struct spare_vm_kern *vm, struct seq_file *m)
{
	unsigned int i;

	for (i = 0; i < SPARE_EV_NR; i++)
		seq_printf(m, "%s %llu\n", event_names[i], vm ? READ_ONCE(vm->abi.ev[i]) : 0);
}
