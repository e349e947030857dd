// SPDX-License-Identifier: GPL-2.0-only
/*
 * CBS-7, how n threads share a server: turns, crowd and valve of cbs.h against the formulas in 128-bit arithmetic, and what
 * they promise against a server simulated period by period.
 */
#include "oracle.h"

#include <algorithm>
#include <set>
#include <tuple>
#include <vector>

#include <sched_spare/cbs.h>

#include <catch2/catch_test_macros.hpp>

using oracle::Random;
using oracle::wide;

namespace {

constexpr wide kT = wide(30) * 1000000000, kTurnMin = 50000, kTurnMax = 1000000;
constexpr uint64_t kThreadsMax = 1 << 22; /* PID_MAX_LIMIT */

struct shape {
	uint64_t q_ns, p_ns, n;
};

spare_cbs server(const shape &c, int64_t q)
{
	return {q, 0, c.q_ns, c.p_ns};
}

/* n threads in turns of 50 us, each within T/4, in one period. */
wide crowd(const shape &c)
{
	return wide(c.n) * kTurnMin * 4 * c.p_ns / kT;
}

std::vector<shape> edges()
{
	std::vector<shape> out;

	for (uint64_t p_us : {100ull, 101ull, 10000ull, 99999ull, 100000ull, 999999ull, 1000000ull})
		for (uint64_t q_us : {uint64_t(50), std::max<uint64_t>(50, (p_us + 199) / 200), p_us / 3, p_us - 1, p_us})
			for (uint64_t n : {uint64_t(1), uint64_t(2), uint64_t(7), uint64_t(300), uint64_t(3000), uint64_t(32768), kThreadsMax - 1, kThreadsMax})
				if (q_us >= 50 && q_us <= p_us && q_us * 200 >= p_us)
					out.push_back({q_us * 1000, p_us * 1000, n});
	return out;
}

std::vector<shape> shapes(uint64_t seed)
{
	std::vector<shape> out = edges();
	Random r(seed);

	for (unsigned i = 0; i < 3000; i++) {
		const uint64_t p = r.in(100, 1000000), q = r.in(std::max<uint64_t>(50, (p + 199) / 200), p);

		out.push_back({q * 1000, p * 1000, r.one_in(3) ? r.in(1, kThreadsMax) : r.in(1, 5000)});
	}
	/* where the crowd is just as large as the budget, and one thread to each side */
	for (size_t i = 0, end = out.size(); i < end; i++) {
		const uint64_t n = uint64_t(kT * out[i].q_ns / (kTurnMin * 4 * out[i].p_ns));

		for (uint64_t m : {n - 1, n, n + 1, n + 2})
			if (m >= 1 && m <= kThreadsMax)
				out.push_back({out[i].q_ns, out[i].p_ns, m});
	}
	return out;
}

/* n threads that burn in one server, period by period: what each got, and the longest that one waited. */
struct sharing {
	uint64_t least, most, gap_max;
};

/* over_ns: by which every run outlasts what it may, the switch to the next thread. */
sharing share(const shape &c, uint64_t seconds, uint64_t over_ns)
{
	struct burner {
		uint64_t ran = 0, left = 0, last = 0;
	};
	std::vector<burner> all(c.n);
	std::set<std::tuple<uint64_t, uint64_t, size_t>> queue; /* key, order of arrival, thread */
	uint64_t arrivals = 0, gap = 0;
	const spare_cbs s = server(c, 0);
	const uint64_t start = 1ull << 40, periods = seconds * 1000000000 / c.p_ns, turn = spare_turn_ns(&s, c.q_ns, c.n);
	int64_t q = 0;

	for (size_t i = 0; i < c.n; i++) {
		all[i].last = start;
		queue.insert({start, arrivals++, i});
	}
	for (uint64_t k = 0; k < periods; k++) {
		uint64_t now = start + k * c.p_ns;

		q = std::min<int64_t>(q + int64_t(c.q_ns), int64_t(c.q_ns));
		while (q > 0) {
			const size_t i = std::get<2>(*queue.begin());
			burner &b = all[i];
			const uint64_t end = b.left && b.left < turn ? spare_turn_resume(now, b.left) : spare_turn_end(now, turn, over_ns);
			const uint64_t ran = std::min<uint64_t>(end - now, uint64_t(q));

			queue.erase(queue.begin());
			gap = std::max(gap, now - b.last);
			now = b.last = now + ran;
			b.ran += ran;
			b.left = end - now > SPARE_TURN_REST_NS ? end - now : 0;
			now += over_ns;
			q -= int64_t(ran + over_ns);
			const bool front = b.ran < SPARE_TURN_NS;
			const uint64_t key = b.left && !queue.empty() ? spare_place_stopped(&s, front, std::get<0>(*queue.begin()), now)
								      : spare_place(&s, front, now);
			queue.insert({key, arrivals++, i});
		}
	}
	const auto [least, most] = std::minmax_element(all.begin(), all.end(), [](const burner &a, const burner &b) { return a.ran < b.ran; });
	return {least->ran, most->ran, gap};
}

} // namespace

TEST_CASE("CBS-7, CBS-8: threads that burn share evenly, wherever the end of the budget cuts their turns, and none waits longer than T/4 and a period")
{
	/* The second shape is the worst for a turn that the cut ends: 1 ms and the rest of the budget, by turns. */
	for (const shape &c : {shape{1000000, 100000000, 300}, shape{1050000, 100000000, 2}, shape{1000000, 100000000, 7}, shape{10000000, 1000000000, 3},
			       shape{50000, 10000000, 20}, shape{20000000, 50000000, 150}, shape{950000, 10000000, 5}}) {
		for (const uint64_t over : {0, 5000, 20000}) {
			const sharing got = share(c, 100, over);

			CAPTURE(c.q_ns, c.p_ns, c.n, over, got.least, got.most, got.gap_max);
			CHECK(got.least * 2 >= got.most);
			/* and 5 % for the switch that follows a turn which the budget's end has cut */
			CHECK(wide(got.gap_max) * 100 <= (kT / 4 + c.p_ns) * 105);
		}
	}
}

TEST_CASE("CBS-7: what n threads take in turns of one length is that, the switches in it")
{
	for (const uint64_t turn : {50000ull, 250000ull, 1000000ull}) {
		REQUIRE(spare_turn_end(7, turn, 0) == 7 + turn);
		REQUIRE(spare_turn_end(7, turn, 20000) == 7 + turn - 20000);
		REQUIRE(spare_turn_end(7, turn, turn) == 7 + turn - turn / 2);
		REQUIRE(spare_turn_resume(7, turn) == 7 + turn);
		REQUIRE(spare_turn_resume(7, 10001) == 7 + 25000);
	}
}

TEST_CASE("CBS-7: a short turn that the tick falls into is longer by one, any other is not")
{
	REQUIRE(spare_turn_ticked(7, 50000) == 7 + 50000);
	REQUIRE(spare_turn_ticked(7, 99999) == 7 + 50000);
	REQUIRE(spare_turn_ticked(7, 100000) == 7);
	REQUIRE(spare_turn_ticked(7, 1000000) == 7);
}

TEST_CASE("CBS-8: places: who woke before who burns, nobody behind those for more than four periods, or eight for packets")
{
	const spare_cbs s = server({10000000, 100000000, 0}, 0);

	for (const uint64_t now : {uint64_t(1) << 40, uint64_t(0) - 5, uint64_t(3)}) {
		const uint64_t burns = spare_place(&s, 0, now), woke = spare_place(&s, 1, now);

		REQUIRE(spare_before(woke, burns));
		REQUIRE(spare_before(spare_place(&s, 1, now + 399999999), burns));
		REQUIRE(spare_before(burns, spare_place(&s, 1, now + 400000001)));
		/* A packet's thread passes a vCPU that woke before it. */
		REQUIRE(spare_before(spare_place_served(&s, now + 399999999), woke));
		REQUIRE(spare_before(spare_place_served(&s, now + 799999999), burns));
		REQUIRE(spare_before(burns, spare_place_served(&s, now + 800000001)));
		/* Stopped by the end of the budget: before the first that waits, but never later than it would stand anyway. */
		REQUIRE(spare_place_stopped(&s, 0, now - 1000, now) == now - 1001);
		REQUIRE(spare_place_stopped(&s, 0, now + 1000, now) == now + 999);
		REQUIRE(spare_place_stopped(&s, 0, burns + 1000, now) == burns);
		REQUIRE(spare_place_stopped(&s, 1, now + 1000, now) == now);
	}
}

TEST_CASE("CBS-7: the valve's use is charged: over many periods a crowd gets its need and not the overrun of each period")
{
	for (const uint64_t over : {1, 3000, 14000}) {
		spare_cbs s = server({500000, 100000000, 3000}, 500000);
		uint64_t used = 0;
		__s64 valve = 0;

		for (unsigned period = 0; period < 1000; period++) {
			spare_cbs_credit(&s, s.d_ns);
			valve = spare_valve_ns(&s, s.runtime_ns, 3000, valve);
			bool more = s.q_ns > 0 || valve > 0;
			while (more) {
				/* runs of 50 us, the last one and what follows it overruns */
				const uint64_t left = uint64_t(std::max<int64_t>(s.q_ns, 0) + std::max<__s64>(valve, 0));
				const uint64_t run = left > 50000 ? 50000 : left + over;

				used += run;
				more = !spare_cbs_charge(&s, run) || spare_valve_charge(&s, &valve, run);
			}
		}
		CAPTURE(over, used);
		CHECK(used <= 1000 * 2000000 + 500000 + over);
		CHECK(used >= 1000 * 1950000);
	}
}

TEST_CASE("CBS-7: a turn is fifteen sixteenths of T*Q / (4*n*P), between 50 us and 1 ms")
{
	for (const shape &c : shapes(51)) {
		const spare_cbs s = server(c, 0);
		const wide share = kT * c.q_ns / (wide(4) * c.n * c.p_ns);
		const wide want = std::clamp<wide>(share - share / 16, kTurnMin, kTurnMax);

		CAPTURE(c.q_ns, c.p_ns, c.n);
		REQUIRE(wide(spare_turn_ns(&s, c.q_ns, c.n)) == want);
		REQUIRE(spare_turn_ns(&s, c.q_ns, 0) == spare_turn_ns(&s, c.q_ns, 1));
	}
}

TEST_CASE("CBS-7: a crowd's need is n turns of 50 us in T/4, and it is a crowd exactly when its budget is less")
{
	for (const shape &c : shapes(52)) {
		const spare_cbs s = server(c, 0);

		CAPTURE(c.q_ns, c.p_ns, c.n);
		REQUIRE(wide(spare_crowd_ns(&s, c.n)) == crowd(c));
		/* Without being a crowd a round of turns is over within T/4 at Q per P; the budget's last nanosecond is rounding. */
		if (crowd(c) < c.q_ns)
			REQUIRE(wide(spare_turn_ns(&s, c.q_ns, c.n)) * c.n * c.p_ns * 4 <= kT * c.q_ns);
	}
	const spare_cbs s = server({500000, 100000000, 0}, 0);
	REQUIRE(spare_crowd_ns(&s, 0) == 0);
}

TEST_CASE("CBS-7: the valve is what a crowd lacks, at most half a period; nothing for those who are none")
{
	Random r(53);

	for (const shape &c : shapes(54)) {
		for (const int64_t q : {int64_t(c.q_ns), int64_t(c.q_ns) / 2, int64_t(1), int64_t(0), -int64_t(r.in(0, c.q_ns * 8)), -int64_t(c.q_ns) * 8}) {
			const spare_cbs s = server(c, q);
			const wide need = crowd(c), lack = need - std::max<wide>(q, 0);

			CAPTURE(c.q_ns, c.p_ns, c.n, q);
			const wide want = need <= c.q_ns ? 0 : std::min<wide>(lack, c.p_ns / 2);
			REQUIRE(wide(spare_valve_ns(&s, c.q_ns, c.n, 0)) == want);
			REQUIRE(wide(spare_valve_ns(&s, c.q_ns, c.n, 12345)) == want);
			REQUIRE(wide(spare_valve_ns(&s, c.q_ns, c.n, -12345)) == (want ? want - 12345 : 0));
		}
	}
}

TEST_CASE("CBS-7: every thread of a crowd has its turn within T/4 and a period; others get Q per period and no more")
{
	for (const shape &c : shapes(55)) {
		if (c.p_ns < 1000000)
			continue; /* T/4 has too many such periods to pass one by one */
		const unsigned periods = unsigned(uint64_t(kT / 4) / c.p_ns) + 1;
		const int64_t floor = -8 * int64_t(c.q_ns);
		const wide need = crowd(c);
		spare_cbs s = server(c, floor);
		wide supply = 0;

		/* From the deepest debt: the worst that a crowd can begin with. */
		for (unsigned i = 0; i < std::min(periods, 200u); i++) {
			spare_cbs_credit(&s, s.d_ns);
			const wide ran = std::max<wide>(s.q_ns, 0) + spare_valve_ns(&s, c.q_ns, c.n, 0);

			CAPTURE(c.q_ns, c.p_ns, c.n, i);
			if (need > c.q_ns)
				REQUIRE(ran >= std::min<wide>(need, c.p_ns / 2));
			supply += ran;
			spare_cbs_charge(&s, uint64_t(ran));
			s.q_ns = std::max<int64_t>(s.q_ns, floor);
		}
		if (need <= c.q_ns)
			REQUIRE(supply <= wide(std::min(periods, 200u)) * c.q_ns);
	}
}
