// SPDX-License-Identifier: GPL-2.0-only
/*
 * libspare-steady-clock.so - preloaded into the deterministic host's QEMU: gettimeofday() counts calls instead of time.
 *
 * QEMU sizes its TLB by how much of it was used within the last 100 ms of wall-clock time (tlb_mmu_resize_locked()), also under
 * -icount. How long an entry outlives a page table that has changed depends on that size, and with it whether the guest takes a
 * page fault that a real CPU may or may not take; so on a busy machine two boots of one job wrote different logs. The thread that
 * emulates is the one that asks, at each flush; with its own count two boots size the TLB alike. Nothing else in that QEMU
 * lives by this clock (-rtc clock=vm).
 */
#include <sys/time.h>

namespace {
constexpr long kFlushUs = 50; /* 100 ms are 2000 flushes, as in real time */
thread_local long calls;
} // namespace

extern "C" int gettimeofday(timeval *tv, void *) noexcept
{
	const long us = kFlushUs * calls++;

	*tv = {1767225600 + us / 1000000, us % 1000000};
	return 0;
}
