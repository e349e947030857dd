/* SPDX-License-Identifier: GPL-2.0 */
/*
 * host_group.bpf.h - how cpu.weight and cpu.idle become the price of CPU time (CBS-9).
 *
 * Every cgroup with the cpu controller keeps the sum of the weights that are active directly within it: its runnable host tasks and
 * its active children. A task of weight w in a cgroup with the sum S has the share w/S of the cgroup, which has the
 * share weight/S' of its parent, and so on. So a run costs its task
 *
 *	100/w * S/weight * S'/weight' * ...   virtual ns per ns
 *
 * where the product ends below the root: at the root tasks and cgroups compete by their weights as they are. Nothing but the
 * sums along its own path matters to a task; what happens in a sibling costs it nothing. (The flattening is scx_flatcg's; that the
 * product is of prices, not of shares of the whole, is ours: it needs no generation that every wake-up in the system ends.)
 *
 * A cgroup's index is the id of its cpu css: small, dense, and read from the task without a look-up. The first SPARE_GROUPS are in an
 * array, those that a host seldom has in a hash table, which costs more (CBS-13). Weights, cpu.idle and cpu.max are read from the
 * kernel's task group whenever the price is computed, at most once in a jiffy: for each cgroup on the way up, as the kernel's own
 * scheduler does at each wake-up.
 */
#ifndef SPARE_HOST_GROUP_BPF_H
#define SPARE_HOST_GROUP_BPF_H

#include "spare.bpf.h"
#include "kfuncs.bpf.h"
#include "compat.bpf.h"
#include "host_cpu.bpf.h"
#include "task.bpf.h"

enum group_const : __u64 {
	SPARE_GROUPS		= 8192,		/* in the array */
	SPARE_GROUPS_MORE	= 1 << 18,	/* and beyond */
	SPARE_GROUP_ROOT	= 1,		/* css ids: 0 an autogroup, 1 the root */
	SPARE_GROUP_FIRST	= 2,
	SPARE_GROUP_LEVELS	= 1 << 16,	/* deeper than any path that the kernel can name */
	SPARE_WEIGHT_SHIFT	= 4,		/* weights are kept in 1/16, so that cpu.idle has one */
	SPARE_WEIGHT_IDLE	= 5,		/* 3/1024 of a nice-0 task, as the kernel has it */
	SPARE_SUM_MAX		= 1ULL << 27,
	SPARE_QUOTA_NONE	= ~0ULL,
	SPARE_SERIAL_TAKEN	= ~0ULL,	/* a CPU is about to make the group that of a new cgroup */
};

struct host_group {
	u64 serial;	/* of the css that it stands for; 0: none yet */
	u64 sum;	/* [a] of the active weights within it */
	u64 given;	/* [a] its part in the parent's sum: its weight while it is active, else 0 */
	u64 weight;
	u64 cost;	/* virtual ns per ns for a task of weight 100 in it */
	u64 cost_at;	/* when that was computed (jiffies: read in three instructions) */
	u32 parent;
	u32 limit;	/* the nearest cgroup with cpu.max, itself included; 0: none (host_limit.bpf.h) */
	u32 limit_up;	/* of one with cpu.max: the next above it */
	u32 throttled;	/* [a] times that it was found exhausted */
	u64 quota_us, period_us, burst_us;
	s64 left_ns;	/* [a] of the quota */
	u64 refill_ns;	/* [a] next refill (CLOCK_MONOTONIC) */
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, SPARE_GROUPS);
	__type(key, u32);
	__type(value, struct host_group);
} groups SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, SPARE_GROUPS_MORE);
	__type(key, u32);
	__type(value, struct host_group);
} more_groups SEC(".maps");

static const struct host_group no_group = {};
CLASS_VAR u64 groups_missing;	/* times that there was no memory for one */
CLASS_VAR s64 host_limits;	/* cgroups with cpu.max */

/* (The call takes 60 instructions; writing the field is deprecated since 7.2.) */
static __always_inline void set_dsq_vtime(struct task_struct *p, u64 vtime)
{
	if (p->scx.dsq_vtime != vtime)
		scx_bpf_task_set_dsq_vtime(p, vtime);
}

/* A group beyond the array; it stays for whoever has the id next. NULL: no memory just now. */
static __noinline struct host_group *more_group(u32 id)
{
	struct host_group *g = bpf_map_lookup_elem(&more_groups, &id);

	if (g)
		return g;
	bpf_map_update_elem(&more_groups, &id, &no_group, BPF_NOEXIST);
	g = bpf_map_lookup_elem(&more_groups, &id);
	if (!g)
		__sync_fetch_and_add(&groups_missing, 1);
	return g;
}

/* NULL: the root, or no memory (more_group()). */
static __always_inline struct host_group *group(u32 id)
{
	if (id < SPARE_GROUP_FIRST)
		return NULL;
	return id < SPARE_GROUPS ? bpf_map_lookup_elem(&groups, &id) : more_group(id);
}

CLASS_VAR u64 root_group;		/* the root's task group, once seen: most tasks of a host are told by it without a look at it */

/* Of a group beyond the array; of the nearest one above it while there is no memory for it: what holds there holds here. */
__noinline u32 task_group_beyond(const struct task_struct *p __arg_trusted)
{
	struct task_group *tg = p->sched_task_group;
	u32 id = tg->css.id;
	int i;

	bpf_for(i, 0, SPARE_GROUP_LEVELS) {
		if (id < SPARE_GROUPS || more_group(id))
			break;
		tg = tg->parent;
		id = tg->css.id;
	}
	return id < SPARE_GROUP_FIRST ? 0 : id;
}

static __always_inline u32 task_group_id(const struct task_struct *p)
{
	struct task_group *tg = p->sched_task_group;
	u32 id;

	if ((u64)tg == root_group)
		return 0;
	id = tg->css.id;
	if (id == SPARE_GROUP_ROOT)
		root_group = (u64)tg;
	if (id >= SPARE_GROUPS)
		return task_group_beyond(p);
	return id < SPARE_GROUP_FIRST ? 0 : id;
}

/*
 * The group has become active or idle, or its weight has changed: correct its part in the parent's sum, and so on upwards.
 * Whoever finds that the group has changed once more meanwhile does it again: the last one to change it sees what there is.
 */
__noinline int group_publish(u32 id)
{
	struct host_group *g, *up;
	u64 want, had, old = 0;
	int i;

	bpf_for(i, 0, 4 * SPARE_GROUP_LEVELS) {
		g = group(id);
		if (!g)
			break;
		want = g->sum ? g->weight : 0;
		if (want == g->given)
			break;
		up = group(g->parent);
		if (g->parent >= SPARE_GROUP_FIRST && (!up || !up->serial || up->serial == SPARE_SERIAL_TAKEN)) {
			g->weight = 0;	/* the parent is not known yet: the next refresh reads the weight anew, and publishes it */
			break;
		}
		had = __sync_lock_test_and_set(&g->given, want);
		if (had == want)
			break;
		if (up)
			old = __sync_fetch_and_add(&up->sum, want - had);
		if (!g->sum != !want)
			continue;
		if (!up || (old && old + want - had))
			break;
		id = g->parent;
	}
	return 0;
}

/* What the kernel's files say of a group. */
struct group_files {
	u64 serial, weight, quota_us, period_us, burst_us;
	u32 parent;
};

/* (0: of a group that is new.) */
static __always_inline bool is_quota(u64 quota_us)
{
	return quota_us && quota_us != SPARE_QUOTA_NONE;
}

/* The exchange decides which of two CPUs has seen the change: what they add up to is the number of groups with cpu.max, whatever their order. */
static __always_inline void group_set_quota(struct host_group *g, u64 quota_us)
{
	/* (Up before, down after: host_regulated counts servers, too, and is never less than these.) */
	if (is_quota(quota_us)) {
		__sync_fetch_and_add(&host_regulated, 1);
		__sync_fetch_and_add(&host_limits, 1);
	}
	if (is_quota(__sync_lock_test_and_set(&g->quota_us, quota_us))) {
		__sync_fetch_and_add(&host_limits, -1);
		__sync_fetch_and_add(&host_regulated, -1);
	}
}

/* Take over what has changed. Other CPUs may do the same at this moment. */
static __always_inline void group_update(struct host_group *g, u32 id, const struct group_files *f)
{
	u64 serial = g->serial;

	if (serial != f->serial) {
		/* A new cgroup under an id that was free; nobody counts in it yet, nor before one CPU has made it so. */
		if (serial == SPARE_SERIAL_TAKEN || __sync_val_compare_and_swap(&g->serial, serial, SPARE_SERIAL_TAKEN) != serial)
			return;
		group_set_quota(g, SPARE_QUOTA_NONE);
		g->sum = g->given = 0;
		g->limit_up = 0;
		g->parent = f->parent;
		__sync_lock_test_and_set(&g->serial, f->serial);
	}
	if (g->weight != f->weight) {
		g->weight = f->weight;
		group_publish(id);
	}
	if (g->quota_us != f->quota_us || g->period_us != f->period_us || g->burst_us != f->burst_us) {
		group_set_quota(g, f->quota_us);
		g->period_us = f->period_us;
		g->burst_us = f->burst_us;
		g->left_ns = f->quota_us * 1000;
		g->refill_ns = bpf_ktime_get_ns() + g->period_us * 1000;
	}
}

static __always_inline void group_read(struct group_files *f, struct task_group *tg)
{
	f->serial = tg->css.serial_nr;
	f->weight = group_is_idle(tg) ? SPARE_WEIGHT_IDLE : (u64)tg->scx.weight << SPARE_WEIGHT_SHIFT;
	f->quota_us = tg->scx.bw_quota_us;
	f->period_us = tg->scx.bw_period_us ?: 1;
	f->burst_us = tg->scx.bw_burst_us;
	f->parent = tg->parent->css.id;
}

/* What the way from a task's cgroup up to the root has come to. */
struct group_way {
	u64 cost;
	u32 own;	/* its first group, */
	u32 limit;	/* the first with cpu.max, */
	u32 below;	/* and the last so far; 0: none */
};

/* One more group on that way: bring it up to date. */
__noinline int group_pass(u32 id, const struct group_files *f __arg_nonnull, struct group_way *w __arg_nonnull)
{
	struct host_group *g = group(id), *below;
	u64 sum;

	if (!g)
		return 0;	/* those above it hold */
	group_update(g, id, f);
	if (!w->own)
		w->own = id;
	sum = g->sum < SPARE_SUM_MAX ? g->sum : SPARE_SUM_MAX;
	if (sum)
		w->cost = w->cost * sum / (g->weight ?: 1);
	if (w->cost > SPARE_COST_MAX)
		w->cost = SPARE_COST_MAX;
	if (!is_quota(g->quota_us))
		return 0;
	below = group(w->below);
	if (below)
		below->limit_up = id;
	else
		w->limit = id;
	w->below = id;
	return 0;
}

/*
 * Compute the price in p's cgroup, its limit, and bind those on the way that are new. (Not static, as group_pass(): otherwise the verifier
 * walks this loop anew for each state of each caller.)
 */
__noinline int group_refresh(struct task_struct *p __arg_trusted)
{
	struct task_group *tg = p->sched_task_group;
	struct group_way w = { .cost = SPARE_COST_ONE };
	struct group_files f;
	struct host_group *g;
	u32 id;
	int i;

	bpf_for(i, 0, SPARE_GROUP_LEVELS) {
		id = tg->css.id;
		if (id < SPARE_GROUP_FIRST)
			break;
		group_read(&f, tg);
		group_pass(id, &f, &w);
		tg = tg->parent;
	}
	g = group(w.below);
	if (g)
		g->limit_up = 0;
	g = group(w.own);
	if (g) {
		g->cost = w.cost ?: 1;
		g->limit = w.limit;
		g->cost_at = bpf_jiffies64();
	}
	return 0;
}

/* The group of p, whose id that is, up to date; NULL: p is the root's. */
static __always_inline struct host_group *task_group_of(struct task_struct *p, u32 id)
{
	struct host_group *g = group(id);

	if (g && (g->cost_at != bpf_jiffies64() || g->serial != p->sched_task_group->css.serial_nr))
		group_refresh(p);
	return g;
}

/* What a run costs p, of this group. */
static __always_inline u64 host_price(struct task_struct *p, u32 id)
{
	struct host_group *g = id ? task_group_of(p, id) : NULL;
	u64 cost = g ? g->cost : SPARE_COST_ONE;
	u32 w = p->scx.weight;

	if (w == 100)
		return cost;
	cost = cost * 100 / (w ?: 1);
	return cost > SPARE_COST_MAX ? SPARE_COST_MAX : cost;
}

static __always_inline void group_uncount(struct task_ctx *t)
{
	u32 id = t->group;
	u64 w = t->group_weight;
	struct host_group *g = group(id);

	t->group = 0;
	if (g && __sync_fetch_and_add(&g->sum, -w) == w)
		group_publish(id);
}

/* Count p as runnable in its group, unless it is. Returns its vtime, with the bit that says so. */
__noinline u64 group_count(struct task_struct *p __arg_trusted, struct task_ctx *t __arg_nonnull, u32 id, u64 v)
{
	u64 w = (u64)p->scx.weight << SPARE_WEIGHT_SHIFT;
	struct host_group *g;

	if (t->group == id && t->group_weight == w)
		return v | SPARE_VTIME_COUNTED;
	if (t->group)
		group_uncount(t);
	g = group(id);
	if (!g)
		return v & ~SPARE_VTIME_COUNTED;
	if (g->serial != p->sched_task_group->css.serial_nr) {
		group_refresh(p);
		/* Another CPU is at it: counted now it would be forgotten. */
		if (g->serial != p->sched_task_group->css.serial_nr)
			return v & ~SPARE_VTIME_COUNTED;
	}
	t->group = id;
	t->group_weight = w;
	if (!__sync_fetch_and_add(&g->sum, w))
		group_publish(id);
	return v | SPARE_VTIME_COUNTED;
}

/* p, of this group, is runnable as a host task, with the vtime v. */
static __always_inline u64 group_enter(struct task_struct *p, u32 id, u64 v)
{
	struct task_ctx *t;

	if (!id && !(v & SPARE_VTIME_COUNTED))
		return v;
	t = task_ctx(p);
	return t ? group_count(p, t, id, v) : v;
}

/* p sleeps, goes elsewhere, or is no longer the host's. */
static __always_inline void group_leave(struct task_struct *p, struct task_ctx *t)
{
	set_dsq_vtime(p, p->scx.dsq_vtime & ~SPARE_VTIME_COUNTED);
	if (t && t->group)
		group_uncount(t);
}

#endif
