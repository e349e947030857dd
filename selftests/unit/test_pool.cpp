// SPDX-License-Identifier: GPL-2.0-only
/* pool.h and the payment of debt against what the rules say in words, in numbers that do not wrap. */
#include "oracle.h"

#include <algorithm>
#include <vector>

#include <sched_spare/pool.h>
#include <sched_spare/spare.h>

#include <catch2/catch_test_macros.hpp>

using oracle::Random;
using oracle::wide;

TEST_CASE("SPARE-5: the second half of first service is denied only for packets whose first half was not")
{
	CHECK(spare_pool_denied_half(7, 6));
	CHECK(!spare_pool_denied_half(7, 7));
	CHECK(spare_pool_denied_half(0, ~0ull));
}

TEST_CASE("SPARE-3, SPARE-5: a provider is fresh exactly when waking it gives a full budget and the deadline t + Ps")
{
	Random r(34);

	for (unsigned i = 0; i < 100000; i++) {
		const wide now = oracle::start_time(i);
		const uint64_t p = r.in(100, 1000000) * 1000, q = r.in(50000, p);
		const int64_t left = r.one_in(4) ? 0 : r.one_in(2) ? int64_t(q) : int64_t(r.in(0, q));
		const wide d = now + wide(r.in(0, 2 * p)) - wide(p);
		spare_cbs s{left, oracle::wrap(d), q, p};
		const uint64_t delay = spare_pool_delay(&s, oracle::wrap(now));
		const int ready = spare_cbs_wake(&s, oracle::wrap(now));
		const bool fresh = ready && s.q_ns == int64_t(q) && s.d_ns == oracle::wrap(now + wide(p));

		REQUIRE((delay == 0) == fresh);
		if (!fresh)
			REQUIRE(wide(delay) == d - now + (left > 0 ? wide(0) : wide(p)));
	}
}

TEST_CASE("SPARE-5: a lost packet asks no more, the next one does, also when the count wraps")
{
	Random r(31);

	for (unsigned stream = 0; stream < 200; stream++) {
		wide seen = stream % 2 ? (wide(1) << 64) - 10 : 0, served = seen, lost = seen;

		for (unsigned i = 0; i < 100; i++) {
			switch (r.in(0, 2)) {
			case 0: seen++; break;
			case 1: served = seen; break;
			default: lost = seen; break;
			}
			REQUIRE(bool(spare_pool_due(oracle::wrap(seen), oracle::wrap(served), oracle::wrap(lost))) ==
				(seen > served && seen > lost));
		}
	}
}

TEST_CASE("SPARE-5: denied is the packet that has neither provider nor first service when the budget is back")
{
	for (uint32_t phase = SPARE_UNMARKED; phase <= SPARE_MARK_SERVED; phase++) {
		spare_mark m{};

		m.phase = phase;
		REQUIRE(bool(spare_pool_denied(&m, 0)) == (phase == SPARE_MARK_WOKEN));
		REQUIRE(!spare_pool_denied(&m, 1));
	}
}

TEST_CASE("SPARE-7: the chunk demands no more than the bandwidth until t + Ps, the rest no more until d")
{
	Random r(32);

	for (unsigned i = 0; i < 100000; i++) {
		const wide now = oracle::start_time(i);
		const uint64_t p = r.in(100, 1000000) * 1000, q = r.in(50000, p), ps = r.in(100, 1000000) * 1000;
		const wide far = wide(r.in(1, p)), d = now + (r.one_in(4) ? wide(ps) : far);
		const int64_t left = r.one_in(8) ? -int64_t(r.in(0, q)) : int64_t(r.in(0, q));
		const spare_cbs s{left, oracle::wrap(d), q, p};
		const wide since = r.one_in(4) ? wide(ps) : wide(r.in(0, 2 * ps));
		const bool may = spare_far(&s, oracle::wrap(now - since), ps, oracle::wrap(now));
		const uint64_t c = spare_far_chunk(&s, ps);

		REQUIRE(may == (left > 0 && d - now > wide(ps) && since >= wide(ps)));
		/* c / Ps <= Q / P, and a nanosecond more would be above it, or above q. */
		REQUIRE(wide(c) * p <= wide(ps) * q);
		REQUIRE(wide(c) <= std::max<wide>(left, 0));
		if (wide(c) < left)
			REQUIRE(wide(c + 1) * p > wide(ps) * q);
		REQUIRE(spare_far_deadline(&s, ps, oracle::wrap(now)) == oracle::wrap(std::min(d, now + wide(ps))));
	}
}

TEST_CASE("SPARE-7: chunks that begin whenever they may demand no more than the bandwidth in any interval")
{
	struct job {
		wide release, deadline, ran;
	};
	Random r(34);

	for (unsigned stream = 0; stream < 300; stream++) {
		const uint64_t p = r.in(10000, 1000000) * 1000, q = r.in(p / 200, p), ps = r.in(100, 50000) * 1000;
		wide now = oracle::start_time(stream);
		const wide begin = now;
		spare_cbs s{int64_t(q), oracle::wrap(now + p), q, p};
		wide d = now + p;
		spare_chunk f{0, 0, oracle::wrap(now - ps)};
		std::vector<job> jobs;

		for (unsigned i = 0; i < 200; i++) {
			now += r.in(0, ps / 2);
			if (now >= d) {
				if (f.left_ns > 0)
					f.left_ns = 0; /* as the class does when a period ends */
				d = now + p;
				s.d_ns = oracle::wrap(d);
				s.q_ns = int64_t(q);
			}
			const bool had = f.left_ns > 0;
			const wide last = jobs.empty() ? begin - ps : jobs.back().release;
			const bool began = spare_far_begin(&f, &s, ps, oracle::wrap(now));

			REQUIRE(began == (!had && s.q_ns > 0 && wide(ps) * q / p > 0 && d - now > wide(ps) && now - last >= wide(ps)));
			if (began) {
				REQUIRE(f.left_ns == std::min<int64_t>(s.q_ns, int64_t(wide(ps) * q / p)));
				REQUIRE(f.d_ns == oracle::wrap(now + ps));
				jobs.push_back({now, now + ps, 0});
			}
			REQUIRE(spare_deadline(&f, &s) == oracle::wrap(f.left_ns > 0 ? jobs.back().deadline : d));
			if (s.q_ns <= 0)
				continue;
			/* the class looks again when the chunk ends, at the latest */
			const int64_t left = f.left_ns;
			const uint64_t may = uint64_t(left > 0 ? std::min<int64_t>(left, s.q_ns) : s.q_ns / 4);
			const uint64_t ran = r.one_in(2) ? may : r.in(0, may);
			REQUIRE(bool(spare_far_charge(&f, ran)) == (left > 0 && int64_t(ran) >= left));
			if (left > 0)
				jobs.back().ran += ran;
			spare_cbs_charge(&s, ran);
			now += ran;
		}
		for (size_t a = 0; a < jobs.size(); a++) {
			wide sum = 0;

			for (size_t b = a; b < jobs.size(); b++) {
				sum += jobs[b].ran;
				REQUIRE(sum * p <= (jobs[b].deadline - jobs[a].release) * q);
			}
		}
	}
}

TEST_CASE("SPARE-6: the room for debt is what will be paid in full")
{
	Random r(35);

	for (unsigned i = 0; i < 100000; i++) {
		const uint64_t q = r.in(50000, 1000000000);
		const int64_t before = int64_t(q) - int64_t(r.in(0, 12 * q));
		const uint64_t waits = r.one_in(2) ? 0 : r.in(0, 12 * q);
		const spare_cbs s{before, 0, q, q};
		const uint64_t room = spare_cbs_debt_room(&s, waits);
		spare_cbs paid = s;

		if (room) {
			spare_cbs_pay_debt(&paid, waits + room);
			REQUIRE(wide(paid.q_ns) == wide(before) - waits - room);
			paid = s;
			spare_cbs_pay_debt(&paid, waits + room + 1);
			REQUIRE(wide(paid.q_ns) > wide(before) - waits - room - 1);
		} else {
			REQUIRE(wide(before) - waits <= -8 * wide(q));
		}
	}
}

TEST_CASE("CBS-7: debt is paid from the budget, never below eight periods' worth")
{
	Random r(33);

	for (unsigned i = 0; i < 100000; i++) {
		const uint64_t q = r.in(50000, 1000000000);
		const int64_t before = int64_t(q) - int64_t(r.in(0, 12 * q));
		const uint64_t debt = r.one_in(8) ? r.in(0, UINT64_MAX - 1) : r.in(0, 10 * q);
		spare_cbs s{before, 0, q, q};

		spare_cbs_pay_debt(&s, debt);
		/* What a server has overrun by itself is not forgiven to reach the floor. */
		const wide floor = std::min(wide(before), -8 * wide(q));
		REQUIRE(wide(s.q_ns) == std::max(wide(before) - wide(debt), floor));
	}
}
