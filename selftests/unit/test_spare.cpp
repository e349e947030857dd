// SPDX-License-Identifier: GPL-2.0-only
/* spare.h against the state diagram at its head written as a table, and the window of SPARE-6 against a plain sum. */
#include "oracle.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <thread>
#include <vector>

#include <sched_spare/spare.h>

#include <catch2/catch_test_macros.hpp>

using oracle::Random;

namespace {

enum event { ARRIVE, WAKE, SERVE, CLEAR, EVENTS };

/* From each phase, by each event. */
constexpr uint32_t next_phase[4][EVENTS] = {
	/*                       ARRIVE              WAKE             SERVE              CLEAR */
	/* UNMARKED */ {SPARE_MARK_ARRIVED, SPARE_MARK_WOKEN, SPARE_MARK_SERVED, SPARE_UNMARKED},
	/* ARRIVED  */ {SPARE_MARK_ARRIVED, SPARE_MARK_WOKEN, SPARE_MARK_SERVED, SPARE_UNMARKED},
	/* WOKEN    */ {SPARE_MARK_WOKEN, SPARE_MARK_WOKEN, SPARE_MARK_SERVED, SPARE_UNMARKED},
	/* SERVED   */ {SPARE_MARK_SERVED, SPARE_MARK_WOKEN, SPARE_MARK_SERVED, SPARE_UNMARKED},
};

} // namespace

TEST_CASE("SPARE-4: with budget of its own a server's mark goes on only with a provider, until network thread and vCPU have run")
{
	for (const uint32_t phase : {SPARE_UNMARKED, SPARE_MARK_ARRIVED, SPARE_MARK_WOKEN, SPARE_MARK_SERVED})
		for (const int all : {0, 1, 2, 3, 4, 5, 6, 7}) {
			const int net = all & 1, pending = all >> 1 & 1, lent = all >> 2;
			const spare_mark m{phase, 0, 0, 0};
			const bool waits = (phase == SPARE_MARK_WOKEN && net) || (phase == SPARE_MARK_SERVED && pending);

			CAPTURE(phase, net, pending, lent);
			CHECK(bool(spare_mark_outlasts(&m, net, pending, lent)) == (waits && lent));
		}
}

TEST_CASE("SPARE-4: a mark follows its state diagram for every stream of events")
{
	Random r(21);

	for (unsigned stream = 0; stream < 200; stream++) {
		spare_mark m{};
		uint32_t phase = SPARE_UNMARKED;
		uint64_t since = 0;

		for (unsigned i = 0; i < 500; i++) {
			const event e = event(r.in(0, EVENTS - 1));
			const uint64_t now = oracle::wrap(oracle::start_time(stream) + i * 1000);
			const uint32_t before = phase;
			const spare_mark old = m;

			switch (e) {
			case ARRIVE: spare_mark_arrive(&m, now); break;
			case WAKE: spare_mark_wake(&m, now); break;
			case SERVE: spare_mark_serve(&m); break;
			default: spare_mark_clear(&m); break;
			}
			phase = next_phase[before][e];
			REQUIRE(m.phase == phase);
			/* Only a woken network thread makes the VM eligible: a burning vCPU must not use the grant before it. */
			REQUIRE(bool(spare_mark_eligible(&m)) == (phase == SPARE_MARK_WOKEN || phase == SPARE_MARK_SERVED));
			/* A mark's time is that of the first packet that waits: more packets do not make it younger. */
			if (e == ARRIVE && before == SPARE_UNMARKED)
				since = now;
			if (e == WAKE && (before == SPARE_UNMARKED || before == SPARE_MARK_SERVED))
				since = now;
			if (phase != SPARE_UNMARKED && before != SPARE_UNMARKED)
				REQUIRE(m.since_ns == since);
			/* A grant begins with each wake-up that begins service, and only then is the account zeroed. */
			if (e == WAKE && before != SPARE_MARK_WOKEN) {
				REQUIRE(m.used_ns == 0);
				REQUIRE(m.chances == 0);
			} else if (e == SERVE || (e == ARRIVE && before != SPARE_UNMARKED)) {
				REQUIRE(m.used_ns == old.used_ns);
				REQUIRE(m.chances == old.chances);
			}
			m.used_ns += r.in(0, 1000);
			m.chances += r.one_in(3);
		}
	}
}

TEST_CASE("SPARE-4: a grant ends after first service, the chances end it in any phase")
{
	Random r(22);

	for (unsigned i = 0; i < 20000; i++) {
		spare_mark m{};
		const uint64_t grant = r.in(1, 5000);
		const uint32_t chances = uint32_t(r.in(0, 4));

		m.phase = uint32_t(r.in(SPARE_UNMARKED, SPARE_MARK_SERVED));
		m.used_ns = r.one_in(4) ? grant : r.in(0, 10000);
		m.chances = uint32_t(r.in(0, 6));
		const bool by_chances = chances != 0 && m.chances >= chances;
		const bool by_grant = m.phase == SPARE_MARK_SERVED && m.used_ns >= grant;
		REQUIRE(bool(spare_mark_charge(&m, grant, chances)) == (by_chances || by_grant));
		const int64_t left = int64_t(grant) - int64_t(m.used_ns);
		REQUIRE(spare_mark_left(&m, grant) == uint64_t(left > 0 ? left : 0));
	}
}

TEST_CASE("SPARE-4: what a packet has had of its grant before the budget ended is not lent again")
{
	Random r(24);

	for (unsigned i = 0; i < 20000; i++) {
		const uint64_t grant = r.in(1, 5000), ran = r.in(0, 6000), more = r.in(0, 6000);
		const uint64_t owed = spare_owed_left(spare_owed_left(grant, ran), more);
		spare_mark m{};

		REQUIRE(owed == (ran + more < grant ? grant - ran - more : 0));
		if (r.one_in(2))
			spare_mark_arrive(&m, 5);
		spare_mark_resume(&m, 7, grant, owed);
		REQUIRE(m.phase == SPARE_MARK_SERVED);
		REQUIRE(m.chances == 0);
		REQUIRE(spare_mark_left(&m, grant) == owed);
		REQUIRE(bool(spare_mark_charge(&m, grant, 0)) == (owed == 0));
	}
}

TEST_CASE("SPARE-6: borrowed time per window is summed and bounded, what exceeds it is the next windows'")
{
	Random r(23);

	for (unsigned stream = 0; stream < 200; stream++) {
		oracle::wide now = oracle::start_time(stream), start = now;
		__u64 window_start = oracle::wrap(now), used = 0;
		uint64_t sum = 0;
		const uint64_t window = r.in(1, 100) * 1000000, gain = r.one_in(4) ? 0 : r.in(1, window);

		for (unsigned i = 0; i < 500; i++) {
			const uint64_t delta = r.in(0, window / 8);

			now += delta + r.in(0, window / 4);
			if (r.one_in(8))
				now = std::max(now, start + window); /* to the end of the window exactly */
			if (r.one_in(16))
				now += r.in(0, 5 * window);
			/* one window after the other */
			const bool over = now - start >= window;
			for (; now - start >= window; start += window)
				sum = sum > gain ? sum - gain : 0;
			if (over)
				start = now;
			sum += delta;
			const bool more = spare_gain(&window_start, &used, window, gain, delta, oracle::wrap(now));
			REQUIRE(used == (gain ? sum : 0));
			REQUIRE(more == (gain == 0 || sum < gain));
		}
	}
}

TEST_CASE("SPARE-6: who borrows whenever it may gets no more than its gain in every window, and one late timer's time")
{
	Random r(25);

	for (unsigned stream = 0; stream < 200; stream++) {
		const oracle::wide begin = oracle::start_time(stream);
		const uint64_t window = r.in(1, 100) * 1000000, gain = r.in(1, window), late_max = r.one_in(2) ? 0 : r.in(0, 4 * gain);
		__u64 window_start = oracle::wrap(begin), used = 0;
		oracle::wide now = begin, total = 0;

		for (unsigned i = 0; i < 2000; i++) {
			uint64_t delta = 0;

			now += r.in(0, window / 16);
			if (spare_gain(&window_start, &used, window, gain, 0, oracle::wrap(now)))
				delta = gain - used + r.in(0, late_max); /* all that is left, and what the timer is late */
			now += delta;
			spare_gain(&window_start, &used, window, gain, delta, oracle::wrap(now));
			total += delta;
			REQUIRE(total <= ((now - begin) / window + 1) * gain + late_max);
		}
	}
}

TEST_CASE("SPARE-6: servers on several CPUs that borrow at once get no more together")
{
	constexpr unsigned nr = 4, calls = 20000;
	constexpr uint64_t window = 1000000, gain = 300000, most = 5000;
	__u64 window_start = 1000000000, used = 0;
	std::atomic<uint64_t> now{window_start}, total{0};
	std::vector<std::thread> cpus;

	for (unsigned cpu = 0; cpu < nr; cpu++)
		cpus.emplace_back([&, cpu] {
			Random r(26 + cpu);

			for (unsigned i = 0; i < calls; i++) {
				const uint64_t delta = r.in(1, most), at = now.fetch_add(r.in(0, 2 * most));

				if (!spare_gain(&window_start, &used, window, gain, 0, at))
					continue;
				total += delta;
				spare_gain(&window_start, &used, window, gain, delta, at);
			}
		});
	for (auto &cpu : cpus)
		cpu.join();
	const uint64_t windows = (now - 1000000000) / window + 1;
	INFO("gained " << total << " of " << windows * gain);
	CHECK(total <= windows * gain + nr * most);
	CHECK(total >= windows * gain * 9 / 10);
}

TEST_CASE("spare.stat: a latency falls into the bucket whose name it is less than")
{
	Random r(24);

	for (unsigned i = 0; i < 100000; i++) {
		const uint64_t lat = r.in(0, uint64_t(1) << r.in(1, 63));
		uint32_t bucket = 0;
		oracle::wide edge = 64000;

		while (bucket < SPARE_LAT_BUCKETS - 1 && oracle::wide(lat) >= edge) {
			edge *= 2;
			bucket++;
		}
		REQUIRE(spare_lat_bucket(lat) == bucket);
	}
	for (uint32_t i = 0; i < SPARE_LAT_BUCKETS - 1; i++) {
		REQUIRE(spare_lat_bucket((64000ull << i) - 1) == i);
		REQUIRE(spare_lat_bucket(64000ull << i) == i + 1);
	}
}
