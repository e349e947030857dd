/* SPDX-License-Identifier: GPL-2.0-only */
/* oracle.h - what the unit tests share: times that do not wrap, and random numbers that are the same everywhere. */
#pragma once

#include <cstdint>
#include <random>

namespace oracle {

/* Time and budget in which nothing overflows. A header's u64 is this one modulo 2^64. */
using wide = __int128;

inline uint64_t wrap(wide t)
{
	return uint64_t(t);
}

class Random {
public:
	explicit Random(uint64_t seed) : gen_(seed) {}
	/* lo .. hi; not a std distribution, whose values depend on the library */
	uint64_t in(uint64_t lo, uint64_t hi) { return lo + gen_() % (hi - lo + 1); }
	bool one_in(unsigned n) { return gen_() % n == 0; }

private:
	std::mt19937_64 gen_;
};

/* Where a stream of events begins: at boot, or shortly before the clock wraps. */
inline wide start_time(unsigned i)
{
	return i % 2 ? (wide(1) << 64) - 3000000000 : wide(1000000000);
}

} // namespace oracle
