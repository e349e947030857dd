/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Servers and the per-CPU tables in which the class finds them.
 */
#ifndef KMOD_SERVER_H
#define KMOD_SERVER_H

#include <linux/cpumask.h>
#include <linux/percpu.h>
#include <linux/rcupdate.h>
#include <linux/types.h>
#include <sched_spare/abi.h>

struct spare_vm_kern;

struct spare_server_kern {
	struct spare_server abi;	/* first: what the class sees, and may write: nothing in it is an index or a pointer of ours */
	struct spare_vm_kern *vm;	/* reference */
	u32 cpu, slot;			/* abi's are copies */
	u64 had_ns;			/* under vm->share_lock: of what the VM has cost, its part up to here */
	bool withdrawn;			/* its VM has it no more */
	bool told;			/* abi.flags has SPARE_F_DYING */
	bool released;			/* the class has forgotten it */
	struct list_head dying;		/* fresh, lost or dying: under spare_config */
	struct list_head gone;		/* vm->gone, under vm->lock */
	struct rcu_head rcu;
};

struct spare_cpu {
	struct spare_server_kern __rcu *slot[SPARE_SLOTS];
	DECLARE_BITMAP(used, SPARE_SLOTS);	/* taken, or given back less than a grace period ago */
	DECLARE_BITMAP(attention, SPARE_SLOTS);	/* servers that the class shall look at */
	u32 deadline_ppm;			/* what SCHED_DEADLINE threads hold, as the class last saw it */
};

extern struct spare_cpu __percpu *spare_cpus;

/**
 * spare_cpu_valid - may there be such a CPU?
 * @cpu: any number
 *
 * Context: any.
 * Return: true: it is possible.
 */
static inline bool spare_cpu_valid(s32 cpu)
{
	return (u32)cpu < nr_cpu_ids && cpu_possible(cpu);
}

/**
 * spare_cpu_serves - does the class schedule there?
 * @cpu: any number
 *
 * Context: any.
 * Return: false: not yet, or no more, on a CPU that comes or goes.
 */
static inline bool spare_cpu_serves(s32 cpu)
{
	return spare_cpu_valid(cpu) && cpu_active(cpu);
}

struct spare_server_kern *spare_server_at(s32 cpu, u32 slot);
struct spare_server_kern *spare_server_alloc(struct spare_vm_kern *vm, unsigned int cpu, u64 cfg);
void spare_server_discard(struct spare_server_kern *srv);
void spare_server_publish(struct spare_server_kern *srv);
void spare_server_withdraw(struct spare_server_kern *srv);
void spare_server_released(struct spare_server_kern *srv);
void spare_server_reap(void);
bool spare_server_reaping(void);
unsigned int spare_server_live(void);
void spare_server_settle(void);

void spare_server_attend(s32 cpu, u32 slot);
u32 spare_server_attention(s32 cpu);

void spare_server_sum(struct spare_vm_kern *vm, struct spare_stats *sum);

int spare_server_attach(void);
void spare_server_detach(void);

int __must_check spare_server_init(void);
void spare_server_exit(void);

#endif /* KMOD_SERVER_H */
