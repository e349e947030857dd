/* SPDX-License-Identifier: GPL-2.0 */
/*
 * cbs.h - a hard constant bandwidth server: from state and time to state (rules CBS-2, CBS-4).
 *
 * Abeni and Buttazzo, "Integrating Multimedia Applications in Hard Real-Time Systems" (RTSS 1998), with the hard
 * reservation of Rajkumar et al. (1998): an exhausted server waits for its deadline instead of postponing it.
 *
 * Plain C for BPF, the kernel and C++. Times are u64 nanoseconds of one monotonic clock and may wrap; budgets are signed.
 * Limits (abi.h): 50 us <= Q <= P <= 1 s, so the products below stay under 2^60.
 */
#ifndef SCHED_SPARE_CBS_H
#define SCHED_SPARE_CBS_H

#include "abi.h"

#define SPARE_NS_PER_US 1000ULL

/* a lies before b, also across a wrap of the clock */
static inline int spare_before(__u64 a, __u64 b)
{
	return (__s64)(a - b) < 0;
}

/* A configuration word (abi.h, spare_server.cfg). */
static inline __u64 spare_cfg_pack(__u32 runtime_us, __u32 period_us)
{
	return ((__u64)runtime_us << 32) | period_us;
}

/*
 * Take over a configuration. A new server starts with a full budget and a deadline in the past: its first wake-up
 * sets d = t + P. A changed one keeps what it has used: neither budget nor deadline may grow beyond the new (Q, P),
 * so that rewriting a file cannot mint CPU time.
 */
static inline void spare_cbs_configure(struct spare_cbs *s, __u64 cfg, int is_new, __u64 now)
{
	s->runtime_ns = (cfg >> 32) * SPARE_NS_PER_US;
	s->period_ns = (cfg & 0xffffffffULL) * SPARE_NS_PER_US;
	if (is_new) {
		s->q_ns = (__s64)s->runtime_ns;
		s->d_ns = now;
		return;
	}
	if (s->q_ns > (__s64)s->runtime_ns)
		s->q_ns = (__s64)s->runtime_ns;
	if (spare_before(now + s->period_ns, s->d_ns))
		s->d_ns = now + s->period_ns;
}

/*
 * Credit every period boundary in (.., now]: d becomes the first boundary after now, q grows by Q for each one passed
 * but never above Q (CBS-2, CBS-4). Needs d <= now. Overrun is never forgiven: a negative q is paid first.
 */
static inline void spare_cbs_credit(struct spare_cbs *s, __u64 now)
{
	__u64 passed = (now - s->d_ns) / s->period_ns + 1;
	__u64 missing = (__u64)((__s64)s->runtime_ns - s->q_ns);	/* q <= Q always */

	s->d_ns += passed * s->period_ns;
	/* passed * Q could overflow after a long sleep; compare by division instead. */
	if (passed > missing / s->runtime_ns)
		s->q_ns = (__s64)s->runtime_ns;
	else
		s->q_ns += (__s64)(passed * s->runtime_ns);
}

/*
 * Wake-up of an INACTIVE server at now (CBS-2). Returns 1 when the server may run, 0 when it stays THROTTLED until d.
 * The second test is q / (d - t) > Q / P, cross-multiplied: keeping (q, d) would exceed the reserved bandwidth.
 */
static inline int spare_cbs_wake(struct spare_cbs *s, __u64 now)
{
	int expired = !spare_before(now, s->d_ns);

	if (expired)
		spare_cbs_credit(s, now);
	if (s->q_ns <= 0)
		return 0;
	if (expired) {
		s->d_ns = now + s->period_ns;
	} else if ((__u64)s->q_ns * s->period_ns > (s->d_ns - now) * s->runtime_ns) {
		s->d_ns = now + s->period_ns;
		s->q_ns = (__s64)s->runtime_ns;
	}
	return 1;
}

/* Replenishment of a THROTTLED server at now >= d (CBS-4). Returns 1 when it may run again. */
static inline int spare_cbs_replenish(struct spare_cbs *s, __u64 now)
{
	spare_cbs_credit(s, now);
	return s->q_ns > 0;
}

/* Charge CPU time. Returns 1 when the budget is used up: the server must be THROTTLED until d (CBS-4). */
static inline int spare_cbs_charge(struct spare_cbs *s, __u64 delta_ns)
{
	s->q_ns -= (__s64)delta_ns;
	return s->q_ns <= 0;
}

#define SPARE_DEBT_PERIODS 8LL	/* CBS-7 */

/*
 * Debt left by others (real-time threads, pay-back) is paid from the budget like time of its own. It never pushes the budget
 * below -8 Q: a longer wait would come near the class's watchdog (CBS-7).
 */
static inline void spare_cbs_pay_debt(struct spare_cbs *s, __u64 debt_ns)
{
	__s64 floor = -SPARE_DEBT_PERIODS * (__s64)s->runtime_ns;

	if (s->q_ns <= floor)
		return;
	if (debt_ns >= (__u64)(s->q_ns - floor))
		s->q_ns = floor;
	else
		s->q_ns -= (__s64)debt_ns;
}

/*
 * The same for debt that was made up to now, when nobody has looked since the deadline (a real-time thread had the CPU, or the server
 * slept): the budgets of the periods that have passed pay first. Returns 1 when the deadline has moved.
 */
static inline int spare_cbs_settle(struct spare_cbs *s, __u64 debt_ns, __u64 now)
{
	__u64 passed, earned;	/* at most now - d + P: Q <= P */

	if (!s->period_ns || spare_before(now, s->d_ns)) {
		spare_cbs_pay_debt(s, debt_ns);
		return 0;
	}
	passed = (now - s->d_ns) / s->period_ns + 1;
	earned = passed * s->runtime_ns;
	if (debt_ns < earned) {
		earned -= debt_ns;
		s->d_ns += passed * s->period_ns;
		if (earned >= (__u64)((__s64)s->runtime_ns - s->q_ns))
			s->q_ns = (__s64)s->runtime_ns;
		else
			s->q_ns += (__s64)earned;
		return 1;
	}
	s->d_ns += passed * s->period_ns;
	spare_cbs_pay_debt(s, debt_ns - earned);
	return 1;
}

/* How much more debt is still paid in full; debt_ns: what waits to be paid. Beyond this the floor would forgive it. */
static inline __u64 spare_cbs_debt_room(const struct spare_cbs *s, __u64 debt_ns)
{
	__s64 room = s->q_ns + SPARE_DEBT_PERIODS * (__s64)s->runtime_ns;

	return room > 0 && (__u64)room > debt_ns ? (__u64)room - debt_ns : 0;
}

/*
 * CBS-7: how n threads of one server share it. With turns of a little less than T*Q/(4*n*P), T the watchdog, each has had one within
 * T/4 of CPU time's passing, whatever n. Between 50 us and 1 ms: shorter turns are all switching, longer ones are not needed.
 */
#define SPARE_WATCHDOG_NS	30000000000ULL
#define SPARE_TURN_MIN_NS	50000ULL
#define SPARE_TURN_NS		1000000ULL
#define SPARE_TURN_REST_NS	10000ULL	/* less of a turn is not worth a switch: it is over */

/* What n threads may take in turns of the least length, each within T/4, in one period. n <= 2^22 (PID_MAX_LIMIT). */
static inline __u64 spare_crowd_ns(const struct spare_cbs *s, __u64 n)
{
	return n * SPARE_TURN_MIN_NS * 4 / 1000 * s->period_ns / (SPARE_WATCHDOG_NS / 1000);
}

/* budget_ns: of each period, 0 < budget_ns <= Q: debt may leave less than Q (spare_debt_budget). */
static inline __u64 spare_turn_ns(const struct spare_cbs *s, __u64 budget_ns, __u64 n)
{
	__u64 turn = SPARE_WATCHDOG_NS / 4 * budget_ns / s->period_ns / (n ? n : 1);

	/* A period costs a crowd more than its turns: a switch at each end, and a rest of a turn that is made longer (spare_turn_resume). */
	turn -= turn / 16;
	if (turn > SPARE_TURN_NS)
		return SPARE_TURN_NS;
	return turn < SPARE_TURN_MIN_NS ? SPARE_TURN_MIN_NS : turn;
}

/*
 * When the turn that begins at now is over. The switch to the next thread is charged like the turn, so it is part of it (at most
 * half): n turns take n * turn_ns of the budget. switch_ns: what the last switch took.
 */
static inline __u64 spare_turn_end(__u64 now, __u64 turn_ns, __u64 switch_ns)
{
	return now + turn_ns - (switch_ns < turn_ns / 2 ? switch_ns : turn_ns / 2);
}

/*
 * The tick falls into a turn. It and the soft interrupts that it raises are no part of a short one: in a crowd, whose rounds may take
 * whole numbers of ticks, the same thread would lose its turn to them each time.
 */
static inline __u64 spare_turn_ticked(__u64 end, __u64 turn_ns)
{
	return turn_ns < 2 * SPARE_TURN_MIN_NS ? end + SPARE_TURN_MIN_NS : end;
}

/* And that of one which goes on after the end of the budget: it has at least what makes the switch to it worth while. */
static inline __u64 spare_turn_resume(__u64 now, __u64 left_ns)
{
	return now + (left_ns > SPARE_TURN_MIN_NS / 2 ? left_ns : SPARE_TURN_MIN_NS / 2);
}

/*
 * CBS-8: places in a server's queue, in the order of their keys. A thread that has run for less than a turn since it woke stands
 * by the time (front); one that burns, four periods behind: that long it waits at most because of those that wake.
 */
#define SPARE_BURN_PERIODS 4ULL

static inline __u64 spare_place(const struct spare_cbs *s, int front, __u64 now)
{
	return front ? now : now + SPARE_BURN_PERIODS * s->period_ns;
}

/*
 * A network thread that wakes in a THROTTLED server because a packet waits: what is borrowed then is for it (SPARE-3), so it
 * goes before a vCPU that woke earlier, too. By no more than four periods, so that those who burn wait for eight at most.
 */
static inline __u64 spare_place_served(const struct spare_cbs *s, __u64 now)
{
	return now - SPARE_BURN_PERIODS * s->period_ns;
}

/*
 * A thread that the end of the budget stopped within its turn has the rest of it first when there is budget again: before
 * whoever waits, which head_key is the first place of. Not before those that will wake, unless they would wait for others anyway.
 */
static inline __u64 spare_place_stopped(const struct spare_cbs *s, int front, __u64 head_key, __u64 now)
{
	__u64 key = spare_place(s, front, now);

	return spare_before(head_key, key) ? head_key - 1 : key;
}

/*
 * The valve: what n threads of a server need beyond the budget that it has now, at the beginning of a period, so that each
 * runs within T/4; 0 for all but a crowd. At most half a period. It is charged like budget, so a crowd that goes has been
 * paid for, down to the floor of debt. budget_ns: as in spare_turn_ns(). left_ns: of the last period's, negative when that was overrun, which this
 * one pays.
 */
static inline __s64 spare_valve_ns(const struct spare_cbs *s, __u64 budget_ns, __u64 n, __s64 left_ns)
{
	__u64 need = spare_crowd_ns(s, n);

	if (need <= budget_ns)
		return 0;
	if (s->q_ns > 0)
		need -= (__u64)s->q_ns < need ? (__u64)s->q_ns : need;
	return (__s64)(need < s->period_ns / 2 ? need : s->period_ns / 2) + (left_ns < 0 ? left_ns : 0);
}

/*
 * The budget is used up and delta_ns was run: by the valve, if it is open. Returns 1 while more may. Below the floor of debt
 * nothing is kept: what is left of the valve says what the next period pays.
 */
static inline int spare_valve_charge(struct spare_cbs *s, __s64 *left_ns, __u64 delta_ns)
{
	__s64 floor = -SPARE_DEBT_PERIODS * (__s64)s->runtime_ns;

	if (!*left_ns)
		return 0;
	*left_ns -= (__s64)delta_ns;
	if (!*left_ns)
		*left_ns = -1;		/* 0 is no valve */
	if (s->q_ns < floor)
		s->q_ns = floor;
	return *left_ns > 0;
}

#endif /* SCHED_SPARE_CBS_H */
