// SPDX-License-Identifier: GPL-2.0-only
/*
 * Of libspare-global-pages.so: where the code is that QEMU has made for a program counter, for 65536 of them. QEMU's own table, the jump cache of each CPU, has 4096 places,
 * and a Linux kernel jumps to ten times as many: two in three jumps ended in QEMU's hash table of all code, which needs the physical page first, and all of that
 * was a quarter of the time that the emulation took.
 *
 * It stands before that hash table (tb_htable_lookup() in accel/tcg/cpu-exec.c) and holds what the jump cache may hold, on the same conditions: the block is for this program
 * counter, segment, flags and kind of code, and no translation of an address that it depends on was forgotten since. A block that is no longer valid says so in its kind.
 * Forgotten is a half of the address space at once (generation), or a page and the one before, from which a block may reach into it (page_generation).
 *
 * The layout of a block is that of QEMU 8.0 and later (include/exec/translation-block.h).
 */
#include "jump_cache.h"

#include <array>

#include "qemu_code.h"

namespace {
struct Block {
	uint64_t pc, cs_base;
	uint32_t flags, kind; /* cflags */
};

constexpr size_t places = 1 << 16, pages = 1 << 12;
constexpr uint64_t one_generation = 1ull << 32; /* below it there is room for the page's */

struct Cache {
	Cpu *cpu;
	std::array<uint64_t, 2> generation; /* of the user's half, and of the kernel's */
	std::array<uint32_t, pages> page_generation;
	struct {
		uint64_t pc, generation;
		Block *block;
	} at[places];

	uint32_t &page(uint64_t address) { return page_generation[(address >> 12 ^ address >> 24) % pages]; }
};

std::array<Cache *, 64> caches; /* in the order in which CPUs first asked */

Block *(*find_block)(Cpu *, uint64_t pc, uint64_t cs_base, uint32_t flags, uint32_t kind);
void (*flush_page)(Cpu *, uint64_t address, uint16_t indices);

Cache &cache_of(Cpu *cpu)
{
	for (Cache *&entry : caches) {
		Cache *cache = __atomic_load_n(&entry, __ATOMIC_ACQUIRE);

		if (!cache) {
			auto *mine = new Cache{};

			mine->cpu = cpu;
			mine->generation.fill(one_generation); /* an empty place is of none */
			if (__atomic_compare_exchange_n(&entry, &cache, mine, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
				return *mine;
			delete mine;
		}
		if (cache->cpu == cpu)
			return *cache;
	}
	qemu::die("more CPUs than there are caches of jumps");
}

Block *our_find_block(Cpu *cpu, uint64_t pc, uint64_t cs_base, uint32_t flags, uint32_t kind)
{
	Cache &cache = cache_of(cpu);
	auto &place = cache.at[(pc ^ pc >> 16) % places];
	const uint64_t generation = cache.generation[pc >> 63] + cache.page(pc);

	if (place.pc == pc && place.generation == generation && place.block->cs_base == cs_base && place.block->flags == flags &&
	    __atomic_load_n(&place.block->kind, __ATOMIC_RELAXED) == kind)
		return place.block;

	Block *block = find_block(cpu, pc, cs_base, flags, kind);

	/* (It may have faulted and gone elsewhere.) */
	if (block)
		place = {pc, generation, block};
	return block;
}

void our_flush_page(Cpu *cpu, uint64_t address)
{
	Cache &cache = cache_of(cpu);

	cache.page(address)++;
	cache.page(address - 4096)++;
	flush_page(cpu, address, 0xffff);
}

/* The first function that is called from the `bytes` there and of which is() is true. */
template <typename Is> const unsigned char *called(const unsigned char *from, size_t bytes, const unsigned char *text, size_t text_bytes, Is is)
{
	constexpr unsigned char call = 0xe8;

	for (const unsigned char *at = from; at < from + bytes; at++) {
		int32_t offset;

		if (*at != call)
			continue;
		std::memcpy(&offset, at + 1, sizeof(offset));

		const unsigned char *to = at + 1 + sizeof(offset) + offset;

		if (to >= text && to < text + text_bytes && is(to))
			return to;
	}
	return nullptr;
}
} // namespace

void jump_cache::begin(uintptr_t text_begin, uintptr_t text_end)
{
	/* About as long as they are. What looks into the hash table looks for the page before, at its beginning: no function in front of it is taken for it. */
	constexpr size_t lookup_bytes = 0x1f0, find_bytes = 0x180, begin_bytes = 0x60;
	const auto *text = reinterpret_cast<const unsigned char *>(text_begin);
	const size_t text_bytes = text_end - text_begin;
	const auto *lookup = qemu::function<unsigned char>("helper_lookup_tb_ptr"), *hash_table = qemu::function<unsigned char>("qht_lookup_custom"),
		   *page_of = qemu::function<unsigned char>("get_page_addr_code_hostp");
	auto *page = qemu::function<void(Cpu *, uint64_t)>("tlb_flush_page");

	flush_page = qemu::function<void(Cpu *, uint64_t, uint16_t)>("tlb_flush_page_by_mmuidx");
	if (!lookup || !hash_table || !page_of || !page || !flush_page)
		return;

	const auto *find = called(lookup, lookup_bytes, text, text_bytes, [&](const unsigned char *to) {
		return called(to, begin_bytes, text, text_bytes, [&](const unsigned char *inner) { return inner == page_of; }) &&
		       called(to, find_bytes, text, text_bytes, [&](const unsigned char *inner) { return inner == hash_table; });
	});

	find_block = find ? qemu::wrap(reinterpret_cast<decltype(find_block)>(const_cast<unsigned char *>(find)), &our_find_block) : nullptr;
	if (find_block)
		qemu::replace(page, &our_flush_page);
}

void jump_cache::forget(Cpu *cpu, bool kernel)
{
	Cache &cache = cache_of(cpu);

	cache.generation[0] += one_generation;
	if (kernel)
		cache.generation[1] += one_generation;
}
