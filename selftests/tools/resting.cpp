// SPDX-License-Identifier: GPL-2.0-only
/*
 * libspare-resting.so - preloaded into the real-time host's QEMU: what PAUSE does.
 *
 * A thread that does nothing but burn (rest.h) takes no time of the machine's: its PAUSE, one with the word in RAX, makes the emulated CPU wait for the
 * next interrupt as HLT does. The host cannot tell: it has given the CPU to the thread, and whatever takes it away is an interrupt.
 *
 * Any other PAUSE, which Linux runs in its spinning loops, gives the outer CPU away. Where the machine has fewer CPUs free than are emulated, one that has
 * sent an interrupt under a lock is put aside for the one that takes it; that would spin for the lock until a tick (4 ms).
 *
 * QEMU 9.1 and later: helper_pause() and helper_hlt() take the CPU alone, with RIP behind the instruction; the translated code has asked before whether a
 * guest's PAUSE is its host's. They differ in what the CPU is told: to come back at once, or at an interrupt.
 */
#include <sched.h>

#include "qemu_code.h"
#include "rest.h"

namespace {
struct Env; /* QEMU's CPUX86State; it begins with the registers, RAX first */

void (*pause_cpu)(Env *);
void (*halt_cpu)(Env *);

void our_pause(Env *env)
{
	uint64_t rax;

	std::memcpy(&rax, env, sizeof(rax));
	if (rax == SPARE_REST_WORD)
		halt_cpu(env);
	sched_yield();
	pause_cpu(env);
}

__attribute__((constructor)) void replace_pause()
{
	auto *entry = qemu::function<void(Env *)>("helper_pause");

	if (!entry)
		return; /* a program that QEMU is started by (env, timeout) */
	halt_cpu = qemu::function<void(Env *)>("helper_hlt");
	pause_cpu = halt_cpu ? qemu::wrap(entry, &our_pause) : nullptr;
	if (!pause_cpu)
		qemu::die("this QEMU has no helper_hlt(), or its helper_pause() begins otherwise: burners would not rest, and locks be spun for");
}
} // namespace
