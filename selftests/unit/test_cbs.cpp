// SPDX-License-Identifier: GPL-2.0-only
/*
 * cbs.h against a model that passes one period boundary at a time in 128-bit arithmetic, and its promise to EDF: servers
 * whose bandwidth sums to at most 1 meet every deadline, whatever their sleeps and wake-ups.
 */
#include "oracle.h"

#include <algorithm>
#include <vector>

#include <sched_spare/cbs.h>
#include <sched_spare/edf.h>

#include <catch2/catch_test_macros.hpp>

using oracle::Random;
using oracle::wide;
using oracle::wrap;

namespace {

/* DESIGN CBS-2 and CBS-4, word by word. */
struct model {
	wide q, d, Q, P;

	void pass_boundaries(wide t)
	{
		while (t >= d) {
			d += P;
			q = std::min(Q, q + Q);
		}
	}
	bool wake(wide t)
	{
		const bool expired = t >= d;

		pass_boundaries(t);
		if (q <= 0)
			return false;
		if (expired) {
			d = t + P;
		} else if (q * P > (d - t) * Q) {
			d = t + P;
			q = Q;
		}
		return true;
	}
	bool replenish(wide t)
	{
		pass_boundaries(t);
		return q > 0;
	}
	bool charge(wide delta)
	{
		q -= delta;
		return q <= 0;
	}
};

struct reservation {
	uint32_t q_us, p_us;
};

reservation random_reservation(Random &r)
{
	const uint32_t p = uint32_t(r.one_in(3) ? r.in(SPARE_PERIOD_MIN_US, 2000) : r.in(SPARE_PERIOD_MIN_US, SPARE_PERIOD_MAX_US));
	const uint32_t least = std::max<uint32_t>(SPARE_RUNTIME_MIN_US, (p * 5 + 999) / 1000);

	return {uint32_t(r.in(least, p)), p};
}

void require_same(const spare_cbs &s, const model &m)
{
	REQUIRE(wide(s.q_ns) == m.q);
	REQUIRE(s.d_ns == wrap(m.d));
}

} // namespace

TEST_CASE("CBS-2 CBS-4: wake-up, charge and replenishment equal the model that passes one boundary at a time")
{
	Random r(1);

	for (unsigned stream = 0; stream < 400; stream++) {
		const reservation res = random_reservation(r);
		wide t = oracle::start_time(stream);
		spare_cbs s{};

		spare_cbs_configure(&s, spare_cfg_pack(res.q_us, res.p_us), 1, wrap(t));
		model m{wide(res.q_us) * 1000, t, wide(res.q_us) * 1000, wide(res.p_us) * 1000};
		require_same(s, m);
		for (unsigned i = 0; i < 500; i++) {
			/* up to three periods, sometimes hundreds; often exactly at the deadline or one beside it */
			switch (r.in(0, 6)) {
			case 6: /* where q / (d - t) is exactly Q / P, if there is such an instant */
				if (m.q > 0 && m.q * m.P % m.Q == 0 && m.d - m.q * m.P / m.Q > t)
					t = m.d - m.q * m.P / m.Q;
				break;
			case 0: t += r.in(0, uint64_t(m.P) * 300); break;
			case 1: if (m.d > t) t = m.d; break;
			case 2: if (m.d - 1 > t) t = m.d - 1; break;
			case 3: if (m.d + 1 > t) t = m.d + 1; break;
			default: t += r.in(0, uint64_t(m.P) * 3); break;
			}
			switch (r.in(0, 2)) {
			case 0:
				REQUIRE(spare_cbs_wake(&s, wrap(t)) == int(m.wake(t)));
				break;
			case 1:
				if (t >= m.d)
					REQUIRE(spare_cbs_replenish(&s, wrap(t)) == int(m.replenish(t)));
				break;
			default:
				/* now and then an overrun of many budgets (debt) */
				/* and often exactly what is left, or half of it */
				const uint64_t delta = r.one_in(8)		 ? r.in(0, uint64_t(m.Q) * 8)
						       : m.q > 0 && r.one_in(4)	 ? uint64_t(m.q) / r.in(1, 2)
										 : r.in(0, uint64_t(m.Q));

				if (m.q > -m.Q * 16)
					REQUIRE(spare_cbs_charge(&s, delta) == int(m.charge(wide(delta))));
				break;
			}
			require_same(s, m);
			REQUIRE(s.q_ns <= int64_t(s.runtime_ns));
		}
	}
}

TEST_CASE("CBS-2: a sleep of years credits no more than one budget and forgives no overrun that it does not cover")
{
	Random r(2);

	for (unsigned i = 0; i < 2000; i++) {
		const reservation res = random_reservation(r);
		const wide t0 = oracle::start_time(i), Q = wide(res.q_us) * 1000, P = wide(res.p_us) * 1000;
		spare_cbs s{};

		spare_cbs_configure(&s, spare_cfg_pack(res.q_us, res.p_us), 1, wrap(t0));
		const wide q = -wide(r.in(0, uint64_t(Q) * 20));
		s.q_ns = int64_t(q);
		const wide slept = wide(r.in(0, uint64_t(1) << 62)), k = slept / P + 1;
		const bool runs = spare_cbs_wake(&s, wrap(t0 + slept));
		const wide want = std::min(Q, q + k * Q);

		REQUIRE(wide(s.q_ns) == want);
		REQUIRE(runs == (want > 0));
		REQUIRE(s.d_ns == wrap(runs ? t0 + slept + P : t0 + k * P));
	}
}

TEST_CASE("CBS-4: a server that always has work gets exactly Q per period in the long run, however late its timer is")
{
	Random r(3);

	for (unsigned stream = 0; stream < 200; stream++) {
		const reservation res = random_reservation(r);
		const uint64_t Q = res.q_us * 1000ull, P = res.p_us * 1000ull;
		if (res.q_us * 10 > res.p_us * 9)
			continue; /* no room left in which an overrun could be paid within the period */
		wide t = oracle::start_time(stream), used = 0;
		spare_cbs s{};

		spare_cbs_configure(&s, spare_cfg_pack(res.q_us, res.p_us), 1, wrap(t));
		const wide begin = t;
		const uint64_t over_max = std::min<uint64_t>(100000, (P - Q) / 2);
		const bool skips = stream % 2; /* a timer so late that it passes several boundaries */

		REQUIRE(spare_cbs_wake(&s, wrap(t)));
		for (unsigned period = 0; period < 300; period++) {
			const uint64_t ran = uint64_t(s.q_ns) + r.in(0, over_max);

			t += ran;
			used += ran;
			REQUIRE(spare_cbs_charge(&s, ran));
			const int64_t wait = int64_t(s.d_ns - wrap(t));
			t += std::max<int64_t>(wait, 0) + int64_t(skips && r.one_in(20) ? r.in(0, 3 * P) : r.in(0, 100));
			if (!spare_cbs_replenish(&s, wrap(t))) {
				t += s.d_ns - wrap(t);
				REQUIRE(spare_cbs_replenish(&s, wrap(t)));
			}
		}
		/* a new budget has just begun; the last overrun is not yet paid */
		const wide due = (t - begin) / P * Q;
		REQUIRE(used <= due + wide(over_max));
		if (!skips)
			REQUIRE(used >= due);
	}
}

TEST_CASE("CBS-2: a rewritten reservation mints no CPU time")
{
	Random r(4);

	for (unsigned i = 0; i < 5000; i++) {
		const reservation a = random_reservation(r), b = random_reservation(r);
		const wide t = oracle::start_time(i);
		spare_cbs s{};

		spare_cbs_configure(&s, spare_cfg_pack(a.q_us, a.p_us), 1, wrap(t));
		spare_cbs_wake(&s, wrap(t));
		spare_cbs_charge(&s, r.in(0, a.q_us * 1500ull));
		const spare_cbs before = s;
		const wide now = t + wide(r.in(0, a.p_us * 1000ull - 1));
		spare_cbs_configure(&s, spare_cfg_pack(b.q_us, b.p_us), 0, wrap(now));
		REQUIRE(s.q_ns <= before.q_ns);
		REQUIRE(s.q_ns <= int64_t(s.runtime_ns));
		REQUIRE(s.q_ns == std::min<int64_t>(before.q_ns, int64_t(b.q_us) * 1000));
		REQUIRE(int64_t(s.d_ns - wrap(now + wide(b.p_us) * 1000)) <= 0);
	}
}

namespace {

/* One server of the simulation below. */
struct job_server {
	spare_cbs s{};
	bool awake = false, throttled = false;
	wide next_change = 0; /* of awake */
	wide used = 0;
};

} // namespace

TEST_CASE("CBS-5: servers of total bandwidth 1 meet every deadline under EDF, whatever wakes and sleeps")
{
	Random r(5);

	for (unsigned stream = 0; stream < 60; stream++) {
		const unsigned n = unsigned(r.in(1, 8));
		std::vector<job_server> v(n);
		spare_edf ready{};
		wide now = oracle::start_time(stream);
		const wide end = now + wide(4000000000);

		for (unsigned i = 0; i < n; i++) {
			const uint32_t p = uint32_t(r.in(1000, 200000));

			spare_cbs_configure(&v[i].s, spare_cfg_pack(std::max<uint32_t>(50, p / n), p), 1, wrap(now));
			if (uint64_t(std::max<uint32_t>(50, p / n)) * n > p)
				v[i].s.runtime_ns = p / n * 1000ull;
			v[i].next_change = now + wide(r.in(0, 100000000));
		}
		while (now < end) {
			/* what is due now */
			for (unsigned i = 0; i < n; i++) {
				job_server &j = v[i];

				if (j.throttled && !spare_before(wrap(now), j.s.d_ns)) {
					REQUIRE(spare_cbs_replenish(&j.s, wrap(now)));
					j.throttled = false;
					if (j.awake)
						spare_edf_put(&ready, i, j.s.d_ns);
				}
				if (j.next_change <= now) {
					j.awake = !j.awake;
					j.next_change = now + wide(r.in(0, j.awake ? 60000000 : 150000000));
					if (!j.awake) {
						spare_edf_del(&ready, i);
					} else if (!j.throttled) {
						REQUIRE(spare_cbs_wake(&j.s, wrap(now)));
						spare_edf_put(&ready, i, j.s.d_ns);
					}
				}
			}
			/* run the earliest deadline until something is due */
			wide until = end;
			uint64_t key = 0;
			const uint32_t top = spare_edf_top(&ready, reinterpret_cast<__u64 *>(&key));
			for (const job_server &j : v) {
				until = std::min(until, j.next_change);
				if (j.throttled)
					until = std::min(until, now + wide(j.s.d_ns - wrap(now)));
			}
			if (top != SPARE_NO_SLOT)
				until = std::min(until, now + wide(v[top].s.q_ns));
			if (until > now && top != SPARE_NO_SLOT) {
				v[top].used += until - now;
				if (spare_cbs_charge(&v[top].s, uint64_t(until - now))) {
					v[top].throttled = true;
					spare_edf_del(&ready, top);
				}
				/* the budget was used by its deadline, to the nanosecond */
				REQUIRE(int64_t(v[top].s.d_ns - wrap(until)) >= 0);
			}
			now = until > now ? until : now;
			for (const job_server &j : v)
				if (j.awake && !j.throttled && j.s.q_ns > 0)
					REQUIRE(int64_t(j.s.d_ns - wrap(now)) >= 0);
		}
	}
}

TEST_CASE("CBS-11: debt is paid by the periods that have passed first, then by those to come")
{
	std::mt19937_64 random(7);
	const auto upto = [&](std::uint64_t most) { return std::uniform_int_distribution<std::uint64_t>(0, most)(random); };

	for (int round = 0; round < 20000; round++) {
		const std::uint64_t period = 1000 + upto(100000), runtime = 100 + upto(period - 100), start = upto(1) != 0 ? 1000 : ~0ULL - 500000;
		spare_cbs s{};

		s.runtime_ns = runtime;
		s.period_ns = period;
		s.d_ns = start;
		s.q_ns = std::int64_t(upto(2 * runtime)) - std::int64_t(runtime);
		const std::int64_t before = s.q_ns;
		const std::uint64_t now = start + upto(20 * period) - 5 * (upto(3) == 0) * period, debt = upto(30 * runtime);
		/* One period after the other: its budget comes, and what is owed by then is nobody's to forgive. */
		std::int64_t periods = 0;
		while (!spare_before(now, start + std::uint64_t(periods) * period))
			periods++;
		const std::int64_t floor = -8 * std::int64_t(runtime);
		std::int64_t q = before + periods * std::int64_t(runtime) - std::int64_t(debt);
		q = std::min(q, periods ? std::int64_t(runtime) : q);
		const int moved = spare_cbs_settle(&s, debt, now);
		REQUIRE(moved == (periods > 0));
		REQUIRE(s.d_ns == start + std::uint64_t(periods) * period);
		REQUIRE(s.q_ns == std::max(q, std::min(floor, before)));
	}
}
