/* SPDX-License-Identifier: GPL-2.0 */
/* class.h - the class, compiled for user space, as the model sees it. */
#ifndef SPARE_SIM_CLASS_H
#define SPARE_SIM_CLASS_H

#include "vmlinux.h"

#ifdef __cplusplus
extern "C" {
#endif

extern struct sched_ext_ops sched_spare_ops;

/* Of one CPU, outside its callbacks. */
struct class_cpu_view {
	u32 cur, by, servers;
	bool idle, queued, ready;
	u64 park_ns;
};

/* What the class keeps of a thread. */
struct class_task_view {
	bool counted, net;	/* as a network thread that waits; it is one */
	u32 cpu, slot;
	u64 server_id;
};

/* Who pays for what has passed since a CPU was last charged, and for whose thread (SPARE_NO_SLOT: a switch). Slots. next_look_ns: changes with each look that is
 * nobody's (host_unpark_idle). */
struct class_charge {
	u32 payer, user;
	u64 next_look_ns;
};

/* Everything of this thread as if it had just been loaded, on so many CPUs; no longer loaded. */
void class_begin(u32 cpus);
void class_end(void);
/* Whether the CPUs have siblings. */
void class_smt(bool smt);
/* What is wrong with this CPU's servers, by the rules of abi.h, and in which slot; NULL: nothing. */
const char *class_check(s32 cpu, u32 *slot);
struct class_cpu_view class_cpu(s32 cpu);
struct class_charge class_charges(s32 cpu);
/* Whether it waits for a provider. */
bool class_waits(s32 cpu, u32 slot);
struct class_task_view class_task(struct task_struct *p);
u64 class_servers_total(void);
u64 class_regulated(void); /* of them servers */
u64 class_idle_cpus(void);

#ifdef __cplusplus
}
#endif

#endif
