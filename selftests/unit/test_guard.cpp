// SPDX-License-Identifier: GPL-2.0-only
/* guard.h against an account that gives each period's budget one by one, in numbers that do not wrap; and from several threads at once. */
#include "oracle.h"

#include <algorithm>
#include <thread>
#include <vector>

#include <sched_spare/guard.h>

#include <catch2/catch_test_macros.hpp>

using oracle::Random;
using oracle::wide;

namespace {

struct LimitAccount {
	wide q, p, left, refill;

	/* Whoever looks at `now` sees all that is due, but no more than SPARE_BUCKET_PERIODS of it. */
	void look(wide now)
	{
		for (unsigned n = 0; now >= refill; n++, refill += p)
			if (n < SPARE_BUCKET_PERIODS)
				left = std::min(left + q, q);
	}
	/* Softirqs bring it no lower than that; workers do. */
	void count(wide ns)
	{
		const wide least = -(wide(SPARE_GUARD_BACK_NS) / p * q);

		left = std::max(left - ns, std::min(left, least));
	}
	/* When something is left again, if nobody charges anything. */
	wide due(wide now)
	{
		LimitAccount later = *this;

		later.look(now);
		if (later.left > 0)
			return 0;
		while (later.left <= 0)
			later.look(later.refill);
		return std::min(later.refill - p, now + wide(SPARE_GUARD_BACK_NS));
	}
};

} // namespace

TEST_CASE("GUARD-1: what network work may use comes back each period, and its overrun is paid, as an account of every period says")
{
	Random r(71);

	for (unsigned stream = 0; stream < 300; stream++) {
		const uint64_t p = r.in(100, 100000), q = r.in(std::max<uint64_t>(50, p / 200), p);
		wide now = oracle::start_time(stream);
		uint64_t total = 1;
		spare_guard g{};

		spare_guard_configure(&g, spare_cfg_pack(uint32_t(q), uint32_t(p)), oracle::wrap(now));
		spare_guard_count(&g, total);
		LimitAccount a{wide(q) * 1000, wide(p) * 1000, wide(q) * 1000, now + wide(p) * 1000};
		for (unsigned i = 0; i < 400; i++) {
			now += wide(r.in(0, r.one_in(20) ? 3000 * p * 1000 : 2 * p * 1000));
			if (r.one_in(3)) {
				const uint64_t ns = r.in(0, r.one_in(10) ? 20 * q * 1000 : q * 600);

				if (r.one_in(2)) {
					spare_guard_charge(&g, ns);
					a.left -= wide(ns);
				} else if (ns) {
					spare_guard_count(&g, total += ns);
					a.count(wide(ns));
				}
			}
			const uint64_t due = spare_guard_due(&g, spare_guard_left(&g, oracle::wrap(now)), oracle::wrap(now));
			const wide want = a.due(now);

			a.look(now);
			REQUIRE(g.left_ns == int64_t(a.left));
			REQUIRE(due == (want ? oracle::wrap(want) : 0));
		}
	}
}

TEST_CASE("GUARD-1: over any window work that ends with its budget has at most Q (W / P + 1)")
{
	Random r(72);

	for (unsigned stream = 0; stream < 100; stream++) {
		const uint64_t p = r.in(1000, 100000), q = r.in(std::max<uint64_t>(50, p / 200), p);
		uint64_t now = r.in(0, 1ULL << 40);
		std::vector<std::pair<uint64_t, uint64_t>> ran; /* from, so long */
		spare_guard g{};

		spare_guard_configure(&g, spare_cfg_pack(uint32_t(q), uint32_t(p)), now);
		while (ran.size() < 200) {
			const uint64_t due = spare_guard_due(&g, spare_guard_left(&g, now), now);

			if (due) {
				now = due;
				continue;
			}
			const uint64_t some = std::min<uint64_t>(uint64_t(spare_guard_left(&g, now)), r.in(1, q * 1000));
			spare_guard_charge(&g, some);
			ran.emplace_back(now, some);
			now += some + (r.one_in(4) ? r.in(0, 3 * p * 1000) : 0);
		}
		for (size_t i = 0; i < ran.size(); i++) {
			uint64_t sum = 0;

			for (size_t j = i; j < ran.size(); j++) {
				sum += ran[j].second;
				const uint64_t window = ran[j].first + ran[j].second - ran[i].first;
				REQUIRE(sum <= q * 1000 * (window / (p * 1000) + 2));
			}
		}
	}
}

TEST_CASE("GUARD-1: rewriting a limit mints nothing, taking it away forgets it")
{
	spare_guard g{};

	spare_guard_configure(&g, spare_cfg_pack(500, 10000), 1000);
	spare_guard_charge(&g, 700000);
	CHECK(spare_guard_left(&g, 2000) == -200000);
	spare_guard_configure(&g, spare_cfg_pack(5000, 100000), 3000);
	CHECK(spare_guard_left(&g, 4000) == -200000);
	spare_guard_configure(&g, spare_cfg_pack(100, 1000), 5000);
	CHECK(g.refill_ns <= 5000 + 1000000);
	spare_guard_count(&g, 1);
	spare_guard_count(&g, 900000000);
	CHECK(g.left_ns == -10000000);	/* 100 ms of 100 us in each */
	spare_guard_configure(&g, spare_cfg_pack(50, 10000), 5500);
	CHECK(g.left_ns == -500000);
	spare_guard_configure(&g, 0, 6000);
	CHECK(spare_guard_due(&g, spare_guard_left(&g, 7000), 7000) == 0);
	/* What was done while there was none is nobody's. */
	spare_guard_configure(&g, spare_cfg_pack(500, 10000), 8000);
	spare_guard_count(&g, 5000000000);
	CHECK(g.left_ns == 500000);
}

TEST_CASE("GUARD-2: with nothing left one worker in 100 ms has a turn; packets to the VM are dropped once the debt is a Q, so that it gets its acknowledgements")
{
	const uint64_t ms = 1000000, start = 1000 * ms;
	spare_guard g{};

	spare_guard_configure(&g, spare_cfg_pack(1000, 100000), start);
	CHECK(spare_guard_may(&g, spare_guard_left(&g, start), start) == SPARE_GUARD_TURN_NS);
	CHECK_FALSE(spare_guard_spent(&g, SPARE_TX, spare_guard_left(&g, start)));
	spare_guard_charge(&g, ms + 1);
	CHECK(spare_guard_spent(&g, SPARE_TX, spare_guard_left(&g, start)));
	CHECK_FALSE(spare_guard_spent(&g, SPARE_RX, spare_guard_left(&g, start)));
	spare_guard_charge(&g, ms);
	CHECK(spare_guard_spent(&g, SPARE_RX, spare_guard_left(&g, start)));
	CHECK(spare_guard_may(&g, spare_guard_left(&g, start), start) == SPARE_GUARD_TURN_NS);
	CHECK(spare_guard_may(&g, spare_guard_left(&g, start + 99 * ms), start + 99 * ms) == 0);
	CHECK(spare_guard_may(&g, spare_guard_left(&g, start + 100 * ms), start + 100 * ms) == SPARE_GUARD_TURN_NS);
}

TEST_CASE("ACC-2, GUARD-1: what the meter has counted is charged once, whoever brings it and in which order; a meter that begins anew charges what it has counted since")
{
	spare_guard g{};

	spare_guard_configure(&g, spare_cfg_pack(500, 10000), 0);
	spare_guard_count(&g, 5000000000); /* before the first look: nobody's */
	CHECK(g.used_ns == 0);
	spare_guard_count(&g, 5000100000);
	spare_guard_count(&g, 5000050000); /* read earlier by another CPU */
	CHECK(g.used_ns == 100000);
	spare_guard_count(&g, 30000);
	CHECK(g.used_ns == 130000);
}

TEST_CASE("GUARD-1: several CPUs at once lose nothing of what they charge")
{
	spare_guard g{};
	uint64_t total = 1;
	std::vector<std::thread> threads;

	spare_guard_configure(&g, spare_cfg_pack(500, 10000), 0);
	spare_guard_count(&g, 1);
	for (unsigned i = 0; i < 4; i++)
		threads.emplace_back([&g, &total, i] {
			for (unsigned n = 0; n < 20000; n++) {
				if (i % 2)
					spare_guard_charge(&g, 3);
				else
					spare_guard_count(&g, __sync_add_and_fetch(&total, 5));
				spare_guard_left(&g, uint64_t(n) * 1000);
			}
		});
	for (std::thread &t : threads)
		t.join();
	spare_guard_count(&g, total);
	CHECK(g.used_ns == 2 * 20000 * 3 + (total - 1));
}

TEST_CASE("GUARD-2: so many needed packets of a kind and direction pass in 100 ms, and no others")
{
	const uint64_t ms = 1000000, start = 1000 * ms;
	spare_guard g{};

	spare_guard_configure(&g, spare_cfg_pack(500, 10000), start);
	for (const uint32_t direction : {SPARE_RX, SPARE_TX})
		for (const uint32_t needed : {SPARE_NEEDED_NOT, SPARE_NEEDED_NETWORK, SPARE_NEEDED_OPERATOR}) {
			unsigned passed = 0;

			for (unsigned i = 0; i < 100; i++)
				passed += spare_guard_passes(&g, direction, needed, start + i) != 0;
			CHECK(passed == (needed ? SPARE_GUARD_PASSES : 0));
		}
	CHECK_FALSE(spare_guard_passes(&g, SPARE_RX, SPARE_NEEDED_NETWORK, start + 99 * ms));
	CHECK(spare_guard_passes(&g, SPARE_RX, SPARE_NEEDED_NETWORK, start + 101 * ms));
	CHECK(spare_guard_news(&g));
	CHECK(!spare_guard_news(&g));
}
