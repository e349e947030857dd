// SPDX-License-Identifier: GPL-2.0-only
/* debt.h against an account that keeps every period, in numbers that do not wrap. */
#include "oracle.h"

#include <algorithm>
#include <mutex>
#include <thread>
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
	wide owed = 0, spread = 0, until = 0;
	wide spent = 0, paid = 0; /* for it elsewhere, in all; of its budgets */

	/* `periods` budgets end, all but the first untouched; then one begins. */
	void next(wide periods, wide cost, wide begins)
	{
		wide unused = 0, budget = left;

		/* Overrun is the CBS's: the budgets that follow pay it. */
		for (wide i = 0; i < periods; i++) {
			unused += std::max(budget, wide(0));
			budget = std::min(budget, wide(0)) + q;
		}
		if (!until)
			unused = 0;

		owed += cost;
		spent += cost;
		const wide first = std::min(owed, unused);
		owed -= first;
		paid += first;
		if (!until || begins >= until || begins + interval < until) {
			const wide n = std::max(interval / p, wide(1));

			until = begins + interval;
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
		const uint64_t p = r.in(100, 1000000) * 1000, q = r.in(50000, p), unit = r.one_in(4) ? p / 3 : p / 2;
		uint64_t interval = r.in(1, 20) * unit;
		wide now = oracle::start_time(stream), d = now + wide(p);
		Account a{wide(q), wide(p), wide(interval), wide(q)};
		spare_cbs s{int64_t(q), oracle::wrap(d), q, p};
		spare_debt debt{};

		for (unsigned i = 0; i < 300; i++) {
			const uint64_t ran = r.one_in(3) ? r.in(0, q) : std::max<int64_t>(s.q_ns, 0) + r.in(0, q / 50);
			const wide periods = r.one_in(8) ? r.in(1, 50) : 1;
			const uint64_t cost = r.one_in(2) ? 0 : r.in(0, r.one_in(10) ? 20 * q : q / 3);

			if (r.one_in(30))
				a.interval = wide(interval = r.in(1, 20) * unit);
			s.q_ns -= int64_t(ran);
			a.left -= wide(ran);
			now = d + (periods - 1) * wide(p) + wide(r.in(0, p - 1));
			d += periods * wide(p);
			const uint64_t unused = spare_debt_unused(&s, oracle::wrap(now));
			spare_cbs_credit(&s, oracle::wrap(now));
			const int64_t had = s.q_ns;
			debt.owed_ns += cost;
			const wide owed = wide(debt.owed_ns);
			const wide paid = wide(spare_debt_pay(&debt, &s, unused, interval));
			REQUIRE(paid == owed - wide(debt.owed_ns));
			a.next(periods, wide(cost), d - wide(p));
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
			debt.owed_ns += more;
			spare_debt_pay(&debt, &s, unused, n * p);
			cost += more;
		}
		ran += s.q_ns;
		REQUIRE(ran + cost - wide(debt.owed_ns) == wide(40 * n + 1) * wide(q));
		/* What is owed is of about the last two intervals. */
		REQUIRE(wide(debt.owed_ns) <= 2 * wide(n + 1) * wide(2 * load * q / 100));
	}
}

TEST_CASE("DEBT-1: who makes the interval shorter need not wait for the end of the long one")
{
	const uint64_t p = 100000000, q = 40000000;
	spare_cbs s{int64_t(q), p, q, p};
	spare_debt debt{30000000, 0, 0};

	CHECK(spare_debt_pay(&debt, &s, 0, 60000000000) == 50000); /* 600 periods */
	s = {int64_t(q), 2 * p, q, p};
	CHECK(spare_debt_pay(&debt, &s, 0, 60000000000) == 50000);
	s = {int64_t(q), 3 * p, q, p};
	CHECK(spare_debt_pay(&debt, &s, 0, 10 * p) == 2990000);
	s = {int64_t(q), 4 * p, q, p};
	CHECK(spare_debt_pay(&debt, &s, 0, 20 * p) == 2990000); /* a longer one waits */
}

TEST_CASE("DEBT-1: nothing spent, nothing changed")
{
	Random r(63);

	for (unsigned i = 0; i < 10000; i++) {
		const uint64_t p = r.in(100, 1000000) * 1000, q = r.in(50000, p), now = r.in(0, 10 * p);
		spare_cbs s{int64_t(q) - int64_t(r.in(0, 3 * q)), now, q, p};
		const spare_cbs was = s;
		spare_debt debt{0, 0, r.in(0, 20 * p)};

		spare_debt_pay(&debt, &s, r.in(0, q), r.in(1, 20 * p));
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


TEST_CASE("DEBT-1: a period that CBS-2 begins early pays with no more than what the VM could have run until then")
{
	Random r(64);

	for (unsigned i = 0; i < 10000; i++) {
		const uint64_t p = r.in(100, 1000000) * 1000, q = r.in(50000, p), now = r.in(1, 1u << 30), d = now + r.in(1, p);
		const int64_t left = int64_t(r.in(0, q)) - int64_t(r.one_in(4) ? q : 0);
		const spare_cbs s{left, d, q, p};
		/* unused = left - (d - now) * Q/P, in the rounding that gives less. */
		const wide times_p = wide(left) * p - wide(d - now) * q;

		REQUIRE(wide(spare_debt_unused(&s, now)) == std::max(wide(0), times_p < 0 ? wide(0) : times_p / wide(p)));
	}
}

TEST_CASE("DEBT-1: what a VM has cost is its servers' to the nanosecond, each alike, while they come and go")
{
	struct Server {
		__u64 had, owed;
	};
	Random r(65);

	for (unsigned stream = 0; stream < 300; stream++) {
		std::vector<Server> servers;
		spare_share share{};
		__u64 total = r.in(0, 1u << 20), before = 0;
		wide charged = 0, gone = 0;
		bool known = false;

		for (unsigned i = 0; i < 400; i++) {
			if (r.one_in(20)) {
				if (servers.empty())
					known = false;
				servers.push_back({spare_share_join(&share), 0});
			} else if (r.one_in(25) && !servers.empty()) {
				const size_t which = r.in(0, servers.size() - 1);

				spare_share_leave(&share, servers[which].had, servers[which].owed);
				servers.erase(servers.begin() + long(which));
			} else if (r.one_in(50)) {
				total = r.in(0, 1000); /* another map */
			} else if (!servers.empty()) {
				Server &s = servers[r.in(0, servers.size() - 1)];
				const uint64_t each = share.each_ns;
				const uint32_t n = share.servers;

				total += r.one_in(3) ? 0 : r.in(0, 100000);
				if (r.one_in(4)) { /* no meter */
					s.owed += spare_share_part(&share, nullptr, &s.had);
				} else {
					charged += !known ? 0 : total < before ? total : total - before;
					before = total;
					known = true;
					s.owed += spare_share_part(&share, &total, &s.had);
				}
				REQUIRE(share.each_ns >= each);
				REQUIRE(share.left_ns < n);
				if (r.one_in(3)) {
					const uint64_t paid = r.in(0, s.owed);

					s.owed -= paid;
					gone += paid;
				}
			}
			wide owed = share.left_ns, untaken = 0;
			for (const Server &s : servers) {
				untaken += wide(share.each_ns - s.had);
				owed += wide(share.each_ns - s.had) + wide(s.owed);
			}
			REQUIRE(wide(share.untaken_ns) == untaken);
			REQUIRE(wide(share.charged_ns) == charged);
			REQUIRE(charged == gone + owed);
		}
	}
}

TEST_CASE("DEBT-1: servers that ask at once, while more is added, pay what the VM has cost, and nothing of it twice")
{
	spare_share share{};
	std::mutex lock;
	__u64 total = 5000000000, had[] = {spare_share_join(&share), spare_share_join(&share)}, owed[] = {0, 0};
	const __u64 before = total;

	const auto ask = [&](int i) {
		const std::lock_guard<std::mutex> alone(lock);

		owed[i] += spare_share_part(&share, &total, &had[i]);
	};
	ask(0);
	const auto server = [&](int i) {
		for (unsigned n = 0; n < 200000; n++) {
			__atomic_fetch_add(&total, 1000, __ATOMIC_RELAXED);
			ask(i);
		}
	};
	std::thread other(server, 1);
	server(0);
	other.join();
	ask(0);
	ask(1);
	REQUIRE(share.charged_ns == total - before);
	REQUIRE(owed[0] + owed[1] + share.left_ns == total - before);
}

TEST_CASE("CBS-7, DEBT-1: a crowd deep in debt has its turns by the valve, which is paid for, and the rest of each budget goes to the debt")
{
	for (const uint64_t n : {1, 30, 300, 1000, 4000}) {
		const uint64_t q = 500000, p = 100000000, periods = 1000;
		spare_cbs s{0, p, q, p};
		spare_debt debt{1000000000, 0, 0};
		__s64 valve = 0;
		wide ran = 0, paid = 0;

		for (uint64_t i = 1; i <= periods; i++) {
			const uint64_t unused = spare_debt_unused(&s, i * p);
			spare_cbs_credit(&s, i * p);
			paid += spare_debt_pay(&debt, &s, unused, 5 * p);
			valve = spare_valve_ns(&s, spare_debt_budget(&debt, &s), n, valve);
			const wide may = std::max<wide>(s.q_ns, 0) + std::max<wide>(valve, 0);

			CAPTURE(n, i);
			REQUIRE(may >= std::max<wide>(spare_crowd_ns(&s, n), q / 10));
			ran += may;
			spare_cbs_charge(&s, uint64_t(may));
			spare_valve_charge(&s, &valve, uint64_t(may));
			/* Turns of the budget that there is: all threads have one within T/4 (the last ns is rounding). */
			REQUIRE(wide(spare_turn_ns(&s, spare_debt_budget(&debt, &s), n)) * n * p * 4 <= wide(SPARE_WATCHDOG_NS) * (may + 1));
			valve = 0;
		}
		if (spare_crowd_ns(&s, n) <= q)
			REQUIRE(ran + paid + s.q_ns == wide(periods) * q);
		REQUIRE(paid + wide(debt.owed_ns) == 1000000000);
	}
}
