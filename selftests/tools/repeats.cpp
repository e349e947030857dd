// SPDX-License-Identifier: GPL-2.0-only
/*
 * libspare-repeats.so - preloaded into the deterministic host's QEMU: a repeated string instruction goes on without QEMU's main loop between its repetitions.
 * Under -icount each repetition is an instruction and a block of code of its own, which returns to the main loop; a kernel that copies byte by byte (FSRM)
 * and clears what it has on its stack did that for a quarter of the machine's time.
 *
 * From the second repetition on RF is set, the block is the same one, and it has returned without a successor to the same instruction: it may run again. It counts
 * itself and asks for interrupts and the end of the CPU's turn as ever, and says so when there is one, so what the host sees is the same to the instruction. (The
 * first repetition is another block, and leaves RF as it finds it.)
 *
 * tcg_qemu_tb_exec, by which QEMU runs a block, is set in tcg_prologue_init(). A QEMU without them does as it did.
 */
#include "qemu_code.h"

namespace {
struct Env { /* the beginning of QEMU's CPUX86State */
	uint64_t regs[16], eip, eflags;
};
constexpr uint64_t rf = 1 << 16;

using Run = uintptr_t(Env *env, const void *block);

Run **run_block; /* tcg_qemu_tb_exec */
Run *run_once;
void (*make_prologue)();

uintptr_t run_repeated(Env *env, const void *block)
{
	const uint64_t at = env->eip;
	const bool repeats = env->eflags & rf;
	uintptr_t next = run_once(env, block);

	while (repeats && !next && env->eip == at && env->eflags & rf)
		next = run_once(env, block);
	return next;
}

void our_make_prologue()
{
	make_prologue();
	run_once = *run_block;
	*run_block = run_repeated;
}

__attribute__((constructor)) void repeat()
{
	auto *entry = qemu::function<void()>("tcg_prologue_init");

	run_block = reinterpret_cast<Run **>(dlsym(RTLD_DEFAULT, "tcg_qemu_tb_exec"));
	if (entry && run_block)
		make_prologue = qemu::wrap(entry, &our_make_prologue);
}
} // namespace
