/* SPDX-License-Identifier: GPL-2.0 */
/*
 * compat.bpf.h - what differs between kernels: the newer form where the kernel has it whole, the older one else. All of it is here.
 *
 * A kfunc's forms are weak declarations. libbpf drops what follows the last "___" and looks for the name before it; it leaves a
 * declaration unset when the kernel has no such kfunc, or one of another type: that is also how a kfunc looks whose BTF is broken (no
 * _impl twin; kfuncs.txt). bpf_ksym_exists() is then a constant, and the verifier drops the branches that are not taken.
 * A kernel with no whole form of one is refused before (LIFE-5). All forms do the same for a class that is alone.
 */
#ifndef SPARE_COMPAT_BPF_H
#define SPARE_COMPAT_BPF_H

#include "spare.bpf.h"

/*
 * 6.19 (2025): ___v2 tells whether it has inserted, which a class that is alone need not know. The kernel is to drop the old one and then
 * the suffix.
 */
extern bool scx_bpf_dsq_insert___v2___spare(struct task_struct *p, u64 dsq_id, u64 slice, u64 enq_flags) __ksym __weak;
extern bool scx_bpf_dsq_insert___bool(struct task_struct *p, u64 dsq_id, u64 slice, u64 enq_flags) __ksym __weak;
extern void scx_bpf_dsq_insert___void(struct task_struct *p, u64 dsq_id, u64 slice, u64 enq_flags) __ksym __weak;

static __always_inline void dsq_insert(struct task_struct *p, u64 dsq_id, u64 slice, u64 enq_flags)
{
	if (bpf_ksym_exists(scx_bpf_dsq_insert___v2___spare))
		scx_bpf_dsq_insert___v2___spare(p, dsq_id, slice, enq_flags);
	else if (bpf_ksym_exists(scx_bpf_dsq_insert___bool))
		scx_bpf_dsq_insert___bool(p, dsq_id, slice, enq_flags);
	else
		scx_bpf_dsq_insert___void(p, dsq_id, slice, enq_flags);
}

/* 6.19 (2025): arguments in memory, to make room for the hidden one. The kernel is to drop the old one. */
struct dsq_insert_vtime_args {
	u64 dsq_id;
	u64 slice;
	u64 vtime;
	u64 enq_flags;
};

extern bool __scx_bpf_dsq_insert_vtime___args(struct task_struct *p, struct dsq_insert_vtime_args *args) __ksym __weak;
extern void scx_bpf_dsq_insert_vtime___void(struct task_struct *p, u64 dsq_id, u64 slice, u64 vtime, u64 enq_flags) __ksym __weak;

static __always_inline void dsq_insert_vtime(struct task_struct *p, u64 dsq_id, u64 slice, u64 vtime, u64 enq_flags)
{
	if (bpf_ksym_exists(__scx_bpf_dsq_insert_vtime___args)) {
		struct dsq_insert_vtime_args args = { dsq_id, slice, vtime, enq_flags };

		__scx_bpf_dsq_insert_vtime___args(p, &args);
	} else {
		scx_bpf_dsq_insert_vtime___void(p, dsq_id, slice, vtime, enq_flags);
	}
}

/* 7.1 (2026): ___v2 takes flags. The kernel is to drop the old one and then the suffix. */
extern bool scx_bpf_dsq_move_to_local___v2___spare(u64 dsq_id, u64 enq_flags) __ksym __weak;
extern bool scx_bpf_dsq_move_to_local___flags(u64 dsq_id, u64 enq_flags) __ksym __weak;
extern bool scx_bpf_dsq_move_to_local___plain(u64 dsq_id) __ksym __weak;

static __always_inline bool dsq_move_to_local(u64 dsq_id)
{
	if (bpf_ksym_exists(scx_bpf_dsq_move_to_local___v2___spare))
		return scx_bpf_dsq_move_to_local___v2___spare(dsq_id, 0);
	if (bpf_ksym_exists(scx_bpf_dsq_move_to_local___flags))
		return scx_bpf_dsq_move_to_local___flags(dsq_id, 0);
	return scx_bpf_dsq_move_to_local___plain(dsq_id);
}

/*
 * Fields that not every kernel has. Each has a declaration of its own, so that this also builds where it is missing, and a function of its
 * own that is called only where it is there: clang computes a field's place wherever it likes, before the question even, and libbpf makes
 * that an invalid instruction where there is no such field.
 */
#define COMPAT_FIELD __attribute__((preserve_access_index))

/* 7.0 (2026): sched_ext has a deadline server as the fair class has. NULL: not here. */
struct rq___ext_server {
	struct sched_dl_entity ext_server;
} COMPAT_FIELD;

static __noinline const struct sched_dl_entity *read_ext_server(const struct rq___ext_server *rq)
{
	return &rq->ext_server;
}

static __always_inline const struct sched_dl_entity *rq_ext_server(const struct rq *rq)
{
	const struct rq___ext_server *r = (const void *)rq;

	return bpf_core_field_exists(r->ext_server) ? read_ext_server(r) : NULL;
}

/* 2026: a deadline server can be detached; older ones always count. */
struct sched_dl_entity___attached {
	unsigned int dl_bw_attached : 1;
} COMPAT_FIELD;

static __noinline bool read_dl_bw_attached(const struct sched_dl_entity___attached *dl)
{
	return BPF_CORE_READ_BITFIELD(dl, dl_bw_attached);
}

static __always_inline bool dl_bw_attached(const struct sched_dl_entity *dl)
{
	const struct sched_dl_entity___attached *d = (const void *)dl;

	return !bpf_core_field_exists(d->dl_bw_attached) || read_dl_bw_attached(d);
}

/* Core scheduling (CONFIG_SCHED_CORE): siblings share what is in `core`. */
struct rq___core {
	struct rq___core *core;
	unsigned long core_cookie;
} COMPAT_FIELD;

static __noinline unsigned long read_core_cookie(const struct rq___core *rq)
{
	return rq->core->core_cookie;
}

/* What the core runs now; 0: whatever comes. */
static __always_inline unsigned long rq_core_cookie(const struct rq *rq)
{
	const struct rq___core *r = (const void *)rq;

	return bpf_core_field_exists(r->core) ? read_core_cookie(r) : 0;
}

/* Does rq_clock_task() stand still in interrupts and softirqs (CONFIG_IRQ_TIME_ACCOUNTING)? */
struct rq___irq_time {
	u64 prev_irq_time;
} COMPAT_FIELD;

static __always_inline bool rq_clock_task_own(void)
{
	const struct rq___irq_time *rq = NULL;

	return bpf_core_field_exists(rq->prev_irq_time);
}

/* cpu.idle of the cgroup. sched_ext keeps it since 6.19 (2025), and calls it sched_idle since September 2026. */
struct scx_task_group___idle {
	bool idle;
} COMPAT_FIELD;

struct scx_task_group___sched_idle {
	bool sched_idle;
} COMPAT_FIELD;

static __noinline bool read_idle(const struct scx_task_group___idle *tg)
{
	return tg->idle;
}

static __noinline bool read_sched_idle(const struct scx_task_group___sched_idle *tg)
{
	return tg->sched_idle;
}

static __always_inline bool group_is_idle(const struct task_group *tg)
{
	const struct scx_task_group___sched_idle *newer = (const void *)&tg->scx;
	const struct scx_task_group___idle *older = (const void *)&tg->scx;

	if (bpf_core_field_exists(newer->sched_idle))
		return read_sched_idle(newer);
	return bpf_core_field_exists(older->idle) && read_idle(older);
}

#endif
