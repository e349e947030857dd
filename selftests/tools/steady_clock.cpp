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
 * When all CPUs are idle the virtual clock moves on to the next timer. QEMU's main loop does that, and asks all_cpu_threads_idle() before: HLT marks a CPU as
 * halted before the thread that emulates it has added what it ran to the count of instructions; a main loop that looks in between moves the clock on from too
 * early a time, and so the guest loses these instructions' time: some 10 ns, once in a few boots of a busy machine. Here the emulating thread, which asks when it
 * has added up, moves the clock on itself and goes on with the timer; the main loop does so only while that thread has nothing to wait for.
 * Nor does it wake the main loop and each AioContext for every timer: no one there has a timer of this clock. (Without both, a third of what the deterministic host
 * cost was spent on waking one another.)
 */
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

#include "qemu_code.h"

namespace {
constexpr long kFlushUs = 50; /* 100 ms are 2000 flushes, as in real time */
thread_local long calls;

constexpr int kVirtualClock = 1, kAllTimers = -1; /* QEMU_CLOCK_VIRTUAL, QEMU_TIMER_ATTR_ALL */

struct Cpu; /* QEMU's */

Cpu *(*get_cpu)(int index);
bool (*is_idle)(Cpu *), (*is_stopped)(Cpu *);
int64_t (*next_timer_ns)(int clock, int attributes); /* from now on; negative: none */
void (*move_to_next_timer)();
void (*notify_cpus)(void *, int clock);

/* Under QEMU's big lock. */
bool waits; /* the emulating thread has found all CPUs idle, and no timer to go on with */
bool moves; /* it moves the clock on */

bool every_cpu_is_idle()
{
	for (int index = 0; Cpu *cpu = get_cpu(index); index++)
		if (!is_idle(cpu))
			return false;
	return true;
}

/* The guest has asked to be stopped: its CPUs count as idle, and the main loop, which has to do it, has perhaps not heard of it. */
bool some_cpu_is_stopped()
{
	for (int index = 0; Cpu *cpu = get_cpu(index); index++)
		if (is_stopped(cpu))
			return true;
	return false;
}

bool in_main_loop()
{
	thread_local const bool is = syscall(SYS_gettid) == getpid();

	return is;
}

/* qemu_clock_notify(): a timer of that clock is due earlier, or now. */
void clock_notify(int clock)
{
	if (in_main_loop() || clock != kVirtualClock)
		notify_cpus(nullptr, clock);
}

bool all_cpu_threads_idle()
{
	if (moves) /* move_to_next_timer() asks, too */
		return true;
	if (in_main_loop())
		return waits && every_cpu_is_idle();
	waits = false;
	if (!every_cpu_is_idle())
		return false;
	if (some_cpu_is_stopped())
		return true; /* nobody moves the clock on */
	if (next_timer_ns(kVirtualClock, kAllTimers) > 0) {
		moves = true;
		move_to_next_timer();
		moves = false;
	}
	/* It is due: the emulating thread runs it next. */
	return waits = next_timer_ns(kVirtualClock, kAllTimers) != 0;
}

__attribute__((constructor)) void wait_for_the_count()
{
	auto *entry = qemu::function<bool()>("all_cpu_threads_idle");
	auto *notify = qemu::function<void(int)>("qemu_clock_notify");

	get_cpu = qemu::function<Cpu *(int)>("qemu_get_cpu");
	is_idle = qemu::function<bool(Cpu *)>("cpu_thread_is_idle");
	is_stopped = qemu::function<bool(Cpu *)>("cpu_is_stopped");
	next_timer_ns = qemu::function<int64_t(int, int)>("qemu_clock_deadline_ns_all");
	move_to_next_timer = qemu::function<void()>("icount_start_warp_timer");
	notify_cpus = qemu::function<void(void *, int)>("qemu_timer_notify_cb");
	if (!entry && !get_cpu && !is_idle)
		return; /* a program by which QEMU is started */
	if (!entry || !notify || !get_cpu || !is_idle || !is_stopped || !next_timer_ns || !move_to_next_timer || !notify_cpus)
		qemu::die("this QEMU lacks one of all_cpu_threads_idle(), qemu_clock_notify(), qemu_get_cpu(), cpu_thread_is_idle(), cpu_is_stopped(), qemu_clock_deadline_ns_all(), "
			  "icount_start_warp_timer(), qemu_timer_notify_cb(): two boots of one job would differ");
	qemu::replace(notify, &clock_notify);
	qemu::replace(entry, &all_cpu_threads_idle);
}
} // namespace

extern "C" int gettimeofday(timeval *tv, void *) noexcept
{
	const long us = kFlushUs * calls++;

	*tv = {1767225600 + us / 1000000, us % 1000000};
	return 0;
}
