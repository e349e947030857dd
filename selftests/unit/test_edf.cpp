// SPDX-License-Identifier: GPL-2.0-only
/* edf.h against std::multimap. */
#include "oracle.h"

#include <map>
#include <memory>
#include <vector>

#include <sched_spare/edf.h>

#include <catch2/catch_test_macros.hpp>

using oracle::Random;
using oracle::wide;
using oracle::wrap;

namespace {

/* Keys in wide time order; and where each slot is. */
class Oracle {
public:
	void put(uint32_t slot, wide key)
	{
		del(slot);
		where_[slot] = by_key_.emplace(key, slot);
	}
	void del(uint32_t slot)
	{
		if (const auto it = where_.find(slot); it != where_.end()) {
			by_key_.erase(it->second);
			where_.erase(it);
		}
	}
	bool has(uint32_t slot) const { return where_.count(slot); }
	size_t size() const { return by_key_.size(); }
	wide least() const { return by_key_.begin()->first; }
	wide key(uint32_t slot) const { return where_.at(slot)->first; }

private:
	std::multimap<wide, uint32_t> by_key_;
	std::map<uint32_t, std::multimap<wide, uint32_t>::iterator> where_;
};

void require_heap(const spare_edf &h, const Oracle &o)
{
	REQUIRE(h.n == o.size());
	for (uint32_t i = 1; i <= h.n; i++) {
		REQUIRE(h.pos[h.node[i].slot] == i);
		if (i > 1)
			REQUIRE(!spare_before(h.node[i].key, h.node[i / 2].key));
	}
}

} // namespace

TEST_CASE("CBS-5: the heap's top is the multimap's first, for random insertions, moves and removals across a clock wrap")
{
	Random r(11);

	for (unsigned stream = 0; stream < 60; stream++) {
		auto h = std::make_unique<spare_edf>();
		Oracle o;
		const uint32_t slots = uint32_t(stream % 3 ? r.in(1, 12) : uint64_t(SPARE_SLOTS));
		const uint64_t spread = stream % 4 ? 1000000000ull : 5; /* few different keys: ties */

		for (unsigned i = 0; i < 3000; i++) {
			const uint32_t slot = uint32_t(r.in(0, slots - 1));
			const wide key = oracle::start_time(stream) + wide(i) * 1000000 + wide(r.in(0, spread));

			if (r.in(0, 9) < 6) {
				spare_edf_put(h.get(), slot, wrap(key));
				o.put(slot, key);
			} else {
				spare_edf_del(h.get(), slot);
				o.del(slot);
			}
			REQUIRE(bool(spare_edf_has(h.get(), slot)) == o.has(slot));
			__u64 top_key = 0;
			const uint32_t top = spare_edf_top(h.get(), &top_key);
			if (!o.size()) {
				REQUIRE(top == SPARE_NO_SLOT);
			} else {
				REQUIRE(top_key == wrap(o.least()));
				REQUIRE(o.has(top));
				REQUIRE(o.key(top) == o.least()); /* equal keys: any of them */
			}
			if (i % 16 == 0)
				require_heap(*h, o);
		}
		require_heap(*h, o);
	}
}

TEST_CASE("CBS-5: a full heap drains in order")
{
	Random r(12);
	auto h = std::make_unique<spare_edf>();
	uint64_t last = 0, key = 0;

	for (uint32_t s = 0; s < SPARE_SLOTS; s++)
		spare_edf_put(h.get(), s, r.in(1, 1000));
	REQUIRE(h->n == SPARE_SLOTS);
	for (uint32_t i = 0; i < SPARE_SLOTS; i++) {
		const uint32_t s = spare_edf_top(h.get(), reinterpret_cast<__u64 *>(&key));

		REQUIRE(key >= last);
		last = key;
		spare_edf_del(h.get(), s);
		REQUIRE(!spare_edf_has(h.get(), s));
	}
	REQUIRE(spare_edf_top(h.get(), reinterpret_cast<__u64 *>(&key)) == SPARE_NO_SLOT);
}

TEST_CASE("CBS-5: slots that cannot be are refused and a zeroed heap is empty")
{
	auto h = std::make_unique<spare_edf>();
	__u64 key = 0;

	REQUIRE(spare_edf_top(h.get(), &key) == SPARE_NO_SLOT);
	spare_edf_del(h.get(), 3);
	spare_edf_put(h.get(), SPARE_SLOTS, 1);
	spare_edf_put(h.get(), SPARE_NO_SLOT, 1);
	REQUIRE(h->n == 0);
	REQUIRE(!spare_edf_has(h.get(), SPARE_NO_SLOT));
}
