// SPDX-License-Identifier: GPL-2.0-only
/*
 * libspare-resting.so - preloaded into the real-time host's QEMU: a thread that does nothing but burn (rest(), tool_util.h) takes no time of the machine's. Its
 * PAUSE, one with the word in RAX, makes the emulated CPU wait for the next interrupt as HLT does. The host cannot tell: it has given the CPU to
 * the thread, and whatever takes it away is an interrupt.
 *
 * helper_pause() and helper_hlt() differ in nothing else (target/i386: RIP is behind the instruction when they are called, and a guest's PAUSE is its
 * own unless its host asks for it, which has been looked at before). In a QEMU whose function begins otherwise a rest is a PAUSE: burners cost what they did.
 */
#include "qemu_code.h"
#include "rest_word.h"

namespace {
struct Env; /* QEMU's CPUX86State; it begins with the registers, RAX first */

void (*pause_cpu)(Env *);
void (*halt_cpu)(Env *);

void our_pause(Env *env)
{
	uint64_t rax;

	std::memcpy(&rax, env, sizeof(rax));
	(rax == SPARE_REST_WORD ? halt_cpu : pause_cpu)(env);
}

__attribute__((constructor)) void rest()
{
	auto *pause = qemu::function<void(Env *)>("helper_pause");

	halt_cpu = qemu::function<void(Env *)>("helper_hlt");
	if (pause && halt_cpu)
		pause_cpu = qemu::wrap(pause, &our_pause);
}
} // namespace
