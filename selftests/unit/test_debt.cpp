// SPDX-License-Identifier: GPL-2.0-only
/* debt.h against an account that keeps every period, in numbers that do not wrap. */
#include "oracle.h"

#include <algorithm>
#include <vector>

#include <sched_spare/debt.h>

#include <catch2/catch_test_macros.hpp>

using oracle::Random;
using oracle::wide;

namespace {

/* A VM that sleeps and burns as it likes, in periods that follow each other. */
struct Account {
	wide q, p, interval;
	wide left;		/* of the current budget; negative: overrun */
	wide owed = 0, spread = 0, until;
	wide spent = 0, paid = 0; /* for it elsewhere, in all; of its budgets */

	/* `periods` budgets end, all but the first untouched; then one begins. */
	void next(wide periods, wide cost, wide now)
	{
		wide unused = 0, overrun = 0;

		for (wide i = 0; i < periods; i++) {
			const wide before = i ? q : left;

			unused += std::max(before, wide(0));
			if (before < 0)
				overrun = -before;
		}
		/* Overrun is the CBS's: the budgets that follow pay it. */
		const wide budget = std::min(q, q * periods - overrun);

		owed += cost;
		spent += cost;
		const wide first = std::min(owed, unused);
		owed -= first;
		paid += first;
		if (now >= until) {
			const wide n = std::max(interval / p, wide(1));

			until = now + interval;
			spread = (owed + n - 1) / n;
		}
		const wide keep = q / 10, may = std::max(std::min(budget - keep, q - keep), wide(0)), pay = std::min({spread, owed, may});

		owed -= pay;
		paid += pay;
		left = budget - pay;
	}
};

} // namespace

TEST_CASE("DEBT-1: what was spent elsewhere is paid from the next budgets, spread over the interval, as an account of every period says")
{
	Random r(61);

	for (unsigned stream = 0; stream < 400; stream++) {
		const uint64_t p = r.in(100, 1000000) * 1000, q = r.in(50000, p), interval = r.in(1, 20) * (r.one_in(4) ? p / 3 : p / 2);
		wide now = oracle::start_time(stream), d = now + wide(p);
		Account a{wide(q), wide(p), wide(interval), wide(q), 0, 0, now};
		spare_cbs s{int64_t(q), oracle::wrap(d), q, p};
		spare_debt debt{0, 0, oracle::wrap(now)};

		for (unsigned i = 0; i < 300; i++) {
			const uint64_t ran = r.one_in(3) ? r.in(0, q) : std::max<int64_t>(s.q_ns, 0) + r.in(0, q / 50);
			const wide periods = r.one_in(8) ? r.in(1, 50) : 1;
			const uint64_t cost = r.one_in(2) ? 0 : r.in(0, r.one_in(10) ? 20 * q : q / 3);

			s.q_ns -= int64_t(ran);
			a.left -= wide(ran);
			now = d + (periods - 1) * wide(p) + wide(r.in(0, p - 1));
			d += periods * wide(p);
			const uint64_t unused = spare_debt_unused(&s, oracle::wrap(now));
			spare_cbs_credit(&s, oracle::wrap(now));
			const int64_t had = s.q_ns;
			spare_debt_pay(&debt, &s, cost, unused, interval, oracle::wrap(now));
			a.next(periods, wide(cost), now);
			REQUIRE(s.d_ns == oracle::wrap(d));
			REQUIRE(wide(s.q_ns) == a.left);
			REQUIRE(wide(debt.owed_ns) == a.owed);
			REQUIRE(a.spent == a.paid + a.owed);
			REQUIRE(s.q_ns >= std::min<int64_t>(had, int64_t(q / 10)));
		}
	}
}

TEST_CASE("DEBT-1: a VM that always runs has its reservation in all, what was spent elsewhere included, as long as that leaves it a tenth")
{
	Random r(62);

	for (unsigned stream = 0; stream < 200; stream++) {
		const uint64_t p = r.in(1000, 100000) * 1000, q = r.in(p / 20, p), n = r.in(1, 50);
		const uint64_t load = r.in(0, 80); /* per cent of Q, on average */
		spare_cbs s{int64_t(q), p, q, p};
		spare_debt debt{0, 0, 0};
		wide ran = 0, cost = 0;

		for (uint64_t i = 1; i <= 40 * n; i++) {
			const uint64_t more = r.in(0, 2 * load) * q / 100;

			ran += s.q_ns;
			s.q_ns = 0;
			const uint64_t unused = spare_debt_unused(&s, i * p);
			spare_cbs_credit(&s, i * p);
			spare_debt_pay(&debt, &s, more, unused, n * p, i * p);
			cost += more;
		}
		ran += s.q_ns;
		REQUIRE(ran + cost - wide(debt.owed_ns) == wide(40 * n + 1) * wide(q));
		/* What is owed is of about the last two intervals. */
		REQUIRE(wide(debt.owed_ns) <= 2 * wide(n + 1) * wide(2 * load * q / 100));
	}
}

TEST_CASE("DEBT-1: nothing spent, nothing changed")
{
	Random r(63);

	for (unsigned i = 0; i < 10000; i++) {
		const uint64_t p = r.in(100, 1000000) * 1000, q = r.in(50000, p), now = r.in(0, 10 * p);
		spare_cbs s{int64_t(q) - int64_t(r.in(0, 3 * q)), now, q, p};
		const spare_cbs was = s;
		spare_debt debt{0, 0, r.in(0, 20 * p)};

		spare_debt_pay(&debt, &s, 0, r.in(0, q), r.in(1, 20 * p), now);
		REQUIRE(s.q_ns == was.q_ns);
		REQUIRE(debt.owed_ns == 0);
		REQUIRE(spare_debt_budget(&debt, &s) == q);
	}
}

TEST_CASE("CBS-7, DEBT-1: turns reckon with the budget that periods have")
{
	const spare_cbs s{0, 0, 10000000, 100000000};

	CHECK(spare_debt_budget(&(const spare_debt &)spare_debt{0, 5000000, 0}, &s) == 10000000);
	CHECK(spare_debt_budget(&(const spare_debt &)spare_debt{3000000, 5000000, 0}, &s) == 7000000);
	CHECK(spare_debt_budget(&(const spare_debt &)spare_debt{60000000, 5000000, 0}, &s) == 5000000);
	CHECK(spare_debt_budget(&(const spare_debt &)spare_debt{60000000, 50000000, 0}, &s) == 1000000);
}

