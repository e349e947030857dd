// SPDX-License-Identifier: GPL-2.0-only
/*
 * Of libspare-global-pages.so, preloaded into QEMU: a write of CR3 leaves what is known of the kernel's half of the address space, as a CPU does for global
 * pages. QEMU has no global pages: with each change of the address space it forgets every translation and where the code of each jump is, and
 * the kernel's way to the next task, half a thousand pages and thousands of jumps, begins anew. Under -icount that takes no time of the guest's, but 0.4 ms
 * of the machine's.
 *
 * Kept are the entries that the kernel has made while it may not touch the user's half (SMAP: an index of their own), physical ones and those of nested page
 * tables, none of which CR3 governs; and of the jumps those in the kernel's half. All else is forgotten as before. So is everything
 *   - when it was not the guest's own instruction: entering and leaving a nested guest changes CR3, too;
 *   - when the kernel has used the user's half without leave, as it does in an address space that it makes for that (text_poke()).
 * That the kernel's half is the same in all address spaces is what PGE promises; mitigations=off keeps it so (no page-table isolation), and a change there is
 * made known by INVLPG or by switching PGE, which QEMU heeds.
 *
 * The indices are those of QEMU 8.1 and later (target/i386/cpu.h). In a QEMU whose functions begin otherwise nothing is changed: it is slow then.
 */
#include <array>

#include <link.h>

#include "jump_cache.h"
#include "qemu_code.h"

namespace {
struct Env; /* QEMU's */

constexpr int kernel_smap64 = 0, physical = 6, nested = 7;
constexpr uint16_t all = 0xffff, kept = 1 << kernel_smap64 | 1 << physical | 1 << nested;

/* CPUState::tb_jmp_cache, found in tcg_flush_jmp_cache(). */
struct Jumps {
	uint64_t rcu[2];
	struct {
		void *code;
		uint64_t pc;
	} at[4096];
};
size_t jumps_offset;

void (*update_cr3)(Env *, uint64_t);
void (*set_page)(Cpu *, int index, uint64_t address, void *full);
void (*flush)(Cpu *, uint16_t indices);

uintptr_t text_begin, text_end;
thread_local bool by_guest; /* its instruction writes CR3 */
thread_local bool in_part;

/* The kernel has used the user's half of an address space; by the CPUs of this thread. */
thread_local std::array<Cpu *, 16> low;

Cpu **low_of(Cpu *cpu)
{
	for (Cpu *&entry : low)
		if (entry == cpu)
			return &entry;
	return nullptr;
}

void our_set_page(Cpu *cpu, int index, uint64_t address, void *full)
{
	if (index == kernel_smap64 && !(address >> 63) && !low_of(cpu)) {
		Cpu **free = low_of(nullptr);

		if (!free)
			qemu::die("more CPUs in one thread than it can tell apart");
		*free = cpu;
	}
	set_page(cpu, index, address, full);
}

void our_flush(Cpu *cpu)
{
	Cpu **is_low = low_of(cpu);

	in_part = by_guest && !is_low;
	by_guest = false;
	if (is_low)
		*is_low = nullptr;
	flush(cpu, in_part ? all & ~kept : all);
	in_part = false;
}

void our_update_cr3(Env *env, uint64_t cr3)
{
	const auto caller = reinterpret_cast<uintptr_t>(__builtin_return_address(0));

	/* helper_write_crN() jumps here: who comes back is code that QEMU has made. */
	by_guest = caller < text_begin || caller >= text_end;
	update_cr3(env, cr3);
	by_guest = false;
}

void our_flush_jumps(Cpu *cpu)
{
	auto *jumps = *reinterpret_cast<Jumps **>(reinterpret_cast<char *>(cpu) + jumps_offset);

	jump_cache::forget(cpu, !in_part);
	if (!jumps)
		return;
	for (auto &entry : jumps->at)
		if (!in_part || !(entry.pc >> 63))
			__atomic_store_n(&entry.code, nullptr, __ATOMIC_RELAXED);
}

/* mov offset(%rdi),%rdx; test %rdx,%rdx; je; lea 0x10(%rdx),%rax; add $0x10010,%rdx */
bool find_jumps(const unsigned char *at)
{
	static constexpr unsigned char begin[] = {0xf3, 0x0f, 0x1e, 0xfa, 0x48, 0x8b, 0x97},
				       rest[] = {0x48, 0x85, 0xd2, 0x74, 0x28, 0x48, 0x8d, 0x42, 0x10, 0x48, 0x81, 0xc2, 0x10, 0x00, 0x01, 0x00};
	int32_t offset;

	if (std::memcmp(at, begin, sizeof(begin)) || std::memcmp(at + sizeof(begin) + sizeof(offset), rest, sizeof(rest)))
		return false;
	std::memcpy(&offset, at + sizeof(begin), sizeof(offset));
	jumps_offset = static_cast<size_t>(offset);
	return true;
}

int find_text(dl_phdr_info *program, size_t, void *)
{
	for (int i = 0; i < program->dlpi_phnum; i++) {
		const auto &part = program->dlpi_phdr[i];

		if (part.p_type == PT_LOAD && part.p_flags & PF_X) {
			text_begin = program->dlpi_addr + part.p_vaddr;
			text_end = text_begin + part.p_memsz;
		}
	}
	return 1; /* the program itself comes first */
}

__attribute__((constructor)) void keep()
{
	auto *cr3 = qemu::function<void(Env *, uint64_t)>("cpu_x86_update_cr3");
	auto *page = qemu::function<void(Cpu *, int, uint64_t, void *)>("tlb_set_page_full");
	auto *whole = qemu::function<void(Cpu *)>("tlb_flush");
	auto *jumps = qemu::function<void(Cpu *)>("tcg_flush_jmp_cache");

	flush = qemu::function<void(Cpu *, uint16_t)>("tlb_flush_by_mmuidx");
	if (!cr3 || !page || !whole || !jumps || !flush || !find_jumps(reinterpret_cast<unsigned char *>(jumps)))
		return;
	dl_iterate_phdr(find_text, nullptr);
	update_cr3 = qemu::wrap(cr3, &our_update_cr3);
	set_page = update_cr3 ? qemu::wrap(page, &our_set_page) : nullptr;
	if (!set_page)
		return; /* by_guest is heeded by our_flush() alone */
	jump_cache::begin(text_begin, text_end);
	qemu::replace(jumps, &our_flush_jumps);
	qemu::replace(whole, &our_flush);
}
} // namespace
