/* SPDX-License-Identifier: GPL-2.0 */
/*
 * debt.h - what a VM has cost outside its servers is paid from its next budgets (rule DEBT-1).
 *
 * After SEDF-DC (Gupta, Cherkasova, Gardner, Vahdat, Middleware 2006, section 4): what was spent for a domain is spread over the periods of the next
 * feedback interval, spread = debt / (interval / P). Here nothing of it is forgiven: a period keeps a tenth of its budget, and what it cannot pay the
 * later ones do. What was left of a budget, and those of periods that were slept through, pay first: the VM could have run that.
 *
 *   what the meter has seen of a VM, ever more ─► struct spare_share, one per VM: a part for each of its servers ─► struct spare_debt of each
 *
 * A server's own overrun is no debt: CBS-4 carries it. Plain C for BPF, the kernel and C++; units and limits as in cbs.h.
 */
#ifndef SCHED_SPARE_DEBT_H
#define SCHED_SPARE_DEBT_H

#include "cbs.h"

/* ---- a VM's cost, and its servers ---------------------------------------------------------------------------------- */

/* All servers of a VM have the same (Q, P), so in proportion to their budgets is alike. Whoever changes it has it alone. */
struct spare_share {
	__u64 seen_ns;		/* of the VM's total, shared up to here */
	__u64 charged_ns;	/* what it has cost since it had servers */
	__u64 left_ns;		/* nobody's yet: what division left, and what servers that are gone did not pay */
	__u64 each_ns;		/* each server's part so far */
	__u64 untaken_ns;	/* what of their parts servers have not had yet */
	__u32 servers;
	__u32 known;		/* seen_ns means something: there was a reading since there are servers, and this class */
};

/* A server comes. Returns where it begins: what the others have had so far is not its. */
static inline __u64 spare_share_join(struct spare_share *sh)
{
	if (!sh->servers++)
		sh->known = 0;
	return sh->each_ns;
}

/* One goes that has had its part up to had_ns and owes owed_ns: the others pay, or who comes after them. */
static inline void spare_share_leave(struct spare_share *sh, __u64 had_ns, __u64 owed_ns)
{
	sh->servers--;
	sh->untaken_ns -= sh->each_ns - had_ns;
	sh->left_ns += sh->each_ns - had_ns + owed_ns;
}

/* The VM has cost total_ns so far. What it cost before it had servers, or while there was no class, nobody pays. */
static inline void spare_share_cost(struct spare_share *sh, __u64 total_ns)
{
	__u64 cost = total_ns < sh->seen_ns ? total_ns : total_ns - sh->seen_ns;

	if (!sh->known)
		cost = 0;
	sh->known = 1;
	sh->seen_ns = total_ns;
	sh->charged_ns += cost;
	sh->left_ns += cost;
}

/* What is nobody's yet is the servers'. */
static inline void spare_share_deal(struct spare_share *sh)
{
	__u64 part;

	if (!sh->servers || sh->left_ns < sh->servers)
		return;
	part = sh->left_ns / sh->servers;
	sh->each_ns += part;
	sh->untaken_ns += part * sh->servers;
	sh->left_ns -= part * sh->servers;
}

/*
 * A server asks. *total: what the VM has cost so far, a number that others add to meanwhile. It is read here, by whoever has the share alone: so each reading
 * is at least the one before, or the number began anew. Read before that, one that is overtaken would pass for a new one, and all of it be charged again.
 * NULL: nobody counts.
 * Returns the server's part since it had *had_ns, and moves that.
 */
static inline __u64 spare_share_part(struct spare_share *sh, const __u64 *total, __u64 *had_ns)
{
	__u64 part;

	if (total)
		spare_share_cost(sh, *(const volatile __u64 *)total);
	spare_share_deal(sh);
	part = sh->each_ns - *had_ns;
	sh->untaken_ns -= part;
	*had_ns = sh->each_ns;
	return part;
}

/* ---- a server's part, and its budgets ------------------------------------------------------------------------------ */

#define SPARE_DEBT_KEEP 10ULL	/* a period keeps this part of its budget */

/* Of what a period may lose; the rest is kept. */
static inline __u64 spare_debt_most(const struct spare_cbs *s)
{
	return s->runtime_ns - s->runtime_ns / SPARE_DEBT_KEEP;
}

/*
 * What the VM could have run until now and has not, if a period begins now: of the budget that ended at d <= now, and of those since; overrun first. When
 * CBS-2 begins one before d, what is more than Q/P of the time until d. Before the budget is credited.
 */
static inline __u64 spare_debt_unused(const struct spare_cbs *s, __u64 now)
{
	__s64 unused;

	if (spare_before(now, s->d_ns))
		unused = s->q_ns - (__s64)(((s->d_ns - now) * s->runtime_ns + s->period_ns - 1) / s->period_ns);
	else
		unused = s->q_ns + (__s64)((now - s->d_ns) / s->period_ns * s->runtime_ns);
	return unused > 0 ? (__u64)unused : 0;
}

/*
 * A period of s begins, with the budget that spare_cbs_credit() has given it; what was spent for it meanwhile has been added to d->owed_ns. Intervals go
 * by periods, whenever somebody got round to beginning them, so each of those that follow each other has as many.
 * unused_ns: spare_debt_unused(). interval_ns: over how long what is owed is spread; of less than a period, one period pays; a shorter one than before holds at
 * once. Afterwards s->q_ns is what may run.
 * Returns what was paid.
 */
static inline __u64 spare_debt_pay(struct spare_debt *d, struct spare_cbs *s, __u64 unused_ns, __u64 interval_ns)
{
	__u64 periods = interval_ns / s->period_ns, keep = s->runtime_ns / SPARE_DEBT_KEEP, begins = s->d_ns - s->period_ns, pay;
	int anew = !d->until_ns || !spare_before(begins, d->until_ns) || spare_before(begins + interval_ns, d->until_ns);

	if (!d->until_ns)
		unused_ns = 0;	/* no budget has ended yet: what a new server begins with it has not earned, nor what passed while its CPU was offline */
	if (unused_ns > d->owed_ns)
		unused_ns = d->owed_ns;
	d->owed_ns -= unused_ns;
	if (anew) {
		d->until_ns = begins + interval_ns;
		d->spread_ns = periods > 1 ? (d->owed_ns + periods - 1) / periods : d->owed_ns;
	}
	/* Overrun has been paid from this budget already: below what is kept, that is not touched again. */
	if (s->q_ns <= (__s64)keep)
		return unused_ns;
	pay = d->spread_ns < d->owed_ns ? d->spread_ns : d->owed_ns;
	if (pay > (__u64)s->q_ns - keep)
		pay = (__u64)s->q_ns - keep;
	s->q_ns -= (__s64)pay;
	d->owed_ns -= pay;
	return unused_ns + pay;
}

/* The budget that periods have now: what turns and valve reckon with (CBS-7). */
static inline __u64 spare_debt_budget(const struct spare_debt *d, const struct spare_cbs *s)
{
	__u64 pay = d->spread_ns < d->owed_ns ? d->spread_ns : d->owed_ns, most = spare_debt_most(s);

	return s->runtime_ns - (pay < most ? pay : most);
}

#endif /* SCHED_SPARE_DEBT_H */
