// SPDX-License-Identifier: GPL-2.0-only
/*
 * libspare-steady-clock.so - preloaded into the deterministic host's QEMU (-icount sleep=off): what it does depends on the instructions
 * that it has run alone, not on how long they took nor on which of its threads was faster.
 *
 * gettimeofday() counts calls instead of time. QEMU sizes its TLB by how much of it was used within the last 100 ms of wall-clock time (tlb_mmu_resize_locked()), also under
 * -icount. How long an entry outlives a page table that has changed depends on that size, and with it whether the guest takes a
 * page fault that a real CPU may or may not take; so on a busy machine two boots of one job wrote different logs. The thread that
 * emulates is the one that asks, at each flush; with its own count two boots size the TLB alike. Nothing else in that QEMU
 * lives by this clock (-rtc clock=vm).
 *
 * all_cpu_threads_idle() is asked by the main loop before it moves the virtual clock on to the next timer. HLT marks a CPU as halted
 * before the thread that emulates it has added what it ran to the count of instructions; a main loop that looks in between moves the
 * clock on from too early a time, and so the guest loses these instructions' time: some 10 ns, once in a few boots of a busy machine. Here
 * that thread alone can say that all are idle: it asks when it has added up, and before it goes to wait.
 */
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

#include "qemu_code.h"

namespace {
constexpr long kFlushUs = 50; /* 100 ms are 2000 flushes, as in real time */
thread_local long calls;

struct Cpu; /* QEMU's */

Cpu *(*get_cpu)(int index);
bool (*is_idle)(Cpu *);
bool waits; /* under QEMU's big lock: the emulating thread has found all CPUs idle */

bool every_cpu_is_idle()
{
	for (int index = 0; Cpu *cpu = get_cpu(index); index++)
		if (!is_idle(cpu))
			return false;
	return true;
}

bool all_cpu_threads_idle()
{
	const bool main_loop = syscall(SYS_gettid) == getpid();

	if (main_loop)
		return waits && every_cpu_is_idle();
	return waits = every_cpu_is_idle();
}

__attribute__((constructor)) void wait_for_the_count()
{
	auto *entry = qemu::function<bool()>("all_cpu_threads_idle");

	get_cpu = qemu::function<Cpu *(int)>("qemu_get_cpu");
	is_idle = qemu::function<bool(Cpu *)>("cpu_thread_is_idle");
	if (!entry && !get_cpu && !is_idle)
		return; /* a program by which QEMU is started */
	if (!entry || !get_cpu || !is_idle)
		qemu::die("this QEMU has no all_cpu_threads_idle(), cpu_thread_is_idle() or qemu_get_cpu(): two boots of one job would differ");
	qemu::replace(entry, &all_cpu_threads_idle);
}
} // namespace

extern "C" int gettimeofday(timeval *tv, void *) noexcept
{
	const long us = kFlushUs * calls++;

	*tv = {1767225600 + us / 1000000, us % 1000000};
	return 0;
}
