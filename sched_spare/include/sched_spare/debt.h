/* SPDX-License-Identifier: GPL-2.0 */
/*
 * debt.h - what a VM has cost outside its servers is paid from its next budgets (rule DEBT-1).
 *
 * After SEDF-DC (Gupta, Cherkasova, Gardner, Vahdat, Middleware 2006, section 4): what was spent for a domain is spread over the periods of the next
 * feedback interval, spread = debt / (interval / P). Here nothing of it is forgiven: a period keeps a tenth of its budget, and what it cannot pay the
 * later ones do. What was left of a budget, and those of periods that were slept through, pay first: the VM could have run that.
 *
 * A server's own overrun is no debt: CBS-4 carries it. Plain C for BPF, the kernel and C++; units and limits as in cbs.h.
 */
#ifndef SCHED_SPARE_DEBT_H
#define SCHED_SPARE_DEBT_H

#include "cbs.h"

#define SPARE_DEBT_KEEP 10ULL	/* a period keeps this part of its budget */

struct spare_debt {
	__u64 owed_ns;		/* not paid yet */
	__u64 spread_ns;	/* what each period of this interval pays of it */
	__u64 until_ns;		/* when the interval ends */
};

/* Of what a period may lose; the rest is kept. */
static inline __u64 spare_debt_most(const struct spare_cbs *s)
{
	return s->runtime_ns - s->runtime_ns / SPARE_DEBT_KEEP;
}

/* What the budgets that end now have left: of the one that runs out at d <= now, and whole ones of periods since. Before spare_cbs_credit(). */
static inline __u64 spare_debt_unused(const struct spare_cbs *s, __u64 now)
{
	return (s->q_ns > 0 ? (__u64)s->q_ns : 0) + (now - s->d_ns) / s->period_ns * s->runtime_ns;
}

/*
 * A period of s begins at now, with the budget that spare_cbs_credit() has given it. cost_ns: what was spent for it since the last one. unused_ns:
 * spare_debt_unused(). interval_ns: over how long what is owed is spread; of less than a period, one period pays. Afterwards s->q_ns is what may run.
 */
static inline void spare_debt_pay(struct spare_debt *d, struct spare_cbs *s, __u64 cost_ns, __u64 unused_ns, __u64 interval_ns, __u64 now)
{
	__u64 periods = interval_ns / s->period_ns, pay, most;

	d->owed_ns += cost_ns;
	d->owed_ns -= unused_ns < d->owed_ns ? unused_ns : d->owed_ns;
	if (!spare_before(now, d->until_ns)) {
		d->until_ns = now + interval_ns;
		d->spread_ns = periods > 1 ? (d->owed_ns + periods - 1) / periods : d->owed_ns;
	}
	most = spare_debt_most(s);
	pay = d->spread_ns < d->owed_ns ? d->spread_ns : d->owed_ns;
	if (pay > most)
		pay = most;
	/* Overrun has been paid from this budget already: that is not touched again. */
	most = s->runtime_ns - most;
	if (s->q_ns <= (__s64)most)
		return;
	if (pay > (__u64)s->q_ns - most)
		pay = (__u64)s->q_ns - most;
	s->q_ns -= (__s64)pay;
	d->owed_ns -= pay;
}

/* The budget that periods have now: what turns and valve reckon with (CBS-7). */
static inline __u64 spare_debt_budget(const struct spare_debt *d, const struct spare_cbs *s)
{
	__u64 pay = d->spread_ns < d->owed_ns ? d->spread_ns : d->owed_ns, most = spare_debt_most(s);

	return s->runtime_ns - (pay < most ? pay : most);
}

#endif /* SCHED_SPARE_DEBT_H */
