// SPDX-License-Identifier: GPL-2.0-only
/*
 * libspare-dilation.so - preloaded into the real-time host's QEMU: its clocks run 1/k as fast, its waits last k times as long, so an
 * emulated CPU does k times the work in a second of its own. Noise of the outer machine shrinks by k, and with k chosen for the machine
 * (tools/speed.cpp) every machine emulates the same, nominal one.
 *
 *   SPARE_DILATION_PAGE   file of dilation_page.h; who writes another k there changes the speed from then on, no clock jumps
 *   SPARE_DILATION        k at the start, in thousandths (1000)
 *   SPARE_LIMIT_S         QEMU ends with status 124 when so many seconds have passed on its own clock
 *   SPARE_PIN_CPUS        CPUs that are emulated: where the machine has just as many, each stays on its own. (Beside other work both were
 *                         seen on one for seconds: half of the speed, or its double where that was when the speed was measured.)
 *                         QEMU names its threads (-name debug-threads=on)
 *
 * All of QEMU's clocks are one: what CLOCK_MONOTONIC has advanced since the start, divided by k. CLOCK_REALTIME and CLOCK_BOOTTIME are
 * where they were at the start, plus that. The emulated time stamp counter, which QEMU takes from the outer CPU, is the same clock too,
 * at 1 GHz: two clocks that are one cannot drift apart, however long a reading of one of them is interrupted. (Otherwise Linux, which
 * compares the TSC with the HPET, takes the TSC for unstable on a busy machine and reads the HPET from then on.)
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "dilation_page.h"
#include "qemu_code.h"

namespace {

using Ns = int64_t;
constexpr Ns second = 1000000000;
/* The longest wait of QEMU's main loop: a new k, and the limit, are noticed within it. */
constexpr Ns longest_wait = second / 10;

template <typename F> F next(const char *name)
{
	return reinterpret_cast<F>(dlsym(RTLD_NEXT, name));
}

#define NEXT(function) next<decltype(&function)>(#function)

Ns outer(clockid_t clock)
{
	static const auto real = NEXT(clock_gettime);
	timespec t;

	real(clock, &t);
	return t.tv_sec * second + t.tv_nsec;
}

timespec timespec_of(Ns ns)
{
	return {time_t(ns / second), long(ns % second)};
}

Ns ns_of(const timespec &t)
{
	return t.tv_sec * second + t.tv_nsec;
}

using qemu::die;

/*
 * QEMU's clock. A line through (outer_, own_) with slope 1000 / k_milli_, redrawn from its present point when k changes. Readers take
 * no lock (a sequence lock; QEMU reads the clock at each RDTSC of each CPU).
 */
class Clock {
public:
	Clock()
	{
		const char *path = getenv("SPARE_DILATION_PAGE"), *k = getenv("SPARE_DILATION"), *limit = getenv("SPARE_LIMIT_S");

		outer_ = own_ = start_ = outer(CLOCK_MONOTONIC);
		realtime_ = outer(CLOCK_REALTIME) - start_;
		boottime_ = outer(CLOCK_BOOTTIME) - start_;
		limit_ = limit ? atoll(limit) * second : INT64_MAX;
		k_milli_ = uint32_t(std::clamp<long long>(k ? atoll(k) : dilation::min_milli, dilation::min_milli, dilation::max_milli));
		if (path)
			map(path);
	}

	/* ns since the epoch of CLOCK_MONOTONIC */
	Ns now()
	{
		for (;;) {
			const uint32_t seq = seq_.load(std::memory_order_acquire);
			const uint32_t k = k_milli_.load(std::memory_order_relaxed);
			const Ns began = outer_.load(std::memory_order_relaxed), own = own_.load(std::memory_order_relaxed);
			const Ns at = outer(CLOCK_MONOTONIC); /* of this line: before the check that it is still valid */

			std::atomic_thread_fence(std::memory_order_acquire);
			if (seq & 1 || seq != seq_.load(std::memory_order_relaxed))
				continue;
			if (page_ && page_->k_milli.load(std::memory_order_relaxed) != k) {
				redraw();
				continue;
			}
			return own + (at - began) * 1000 / k;
		}
	}

	/* What an own duration lasts outside. */
	Ns outside(Ns own) const
	{
		return Ns(std::min<__int128>(__int128(own) * k_milli_.load(std::memory_order_relaxed) / 1000, INT64_MAX / 2));
	}

	/* How far a clock is ahead of CLOCK_MONOTONIC; false: it is none of ours (a CPU-time clock). */
	bool offset(clockid_t clock, Ns &ahead) const
	{
		switch (clock) {
		case CLOCK_MONOTONIC:
		case CLOCK_MONOTONIC_RAW:
		case CLOCK_MONOTONIC_COARSE: ahead = 0; return true;
		case CLOCK_REALTIME:
		case CLOCK_REALTIME_COARSE: ahead = realtime_; return true;
		case CLOCK_BOOTTIME: ahead = boottime_; return true;
		default: return false;
		}
	}

	Ns realtime() { return now() + realtime_; }

	/* An own deadline of CLOCK_REALTIME or CLOCK_MONOTONIC (told apart by its size) as one of the outer clock. */
	timespec deadline(const timespec &own)
	{
		const Ns at = ns_of(own);
		const bool is_realtime = at > realtime_;
		const Ns left = at - now() - (is_realtime ? realtime_ : 0);

		return timespec_of(outer(is_realtime ? CLOCK_REALTIME : CLOCK_MONOTONIC) + outside(std::max<Ns>(left, 0)));
	}

	void check_limit()
	{
		if (now() - start_ > limit_)
			_exit(124);
	}

private:
	void map(const char *path)
	{
		const int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

		if (fd < 0 || ftruncate(fd, dilation::page_bytes))
			die("cannot make the file SPARE_DILATION_PAGE");
		void *at = mmap(nullptr, dilation::page_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		if (at == MAP_FAILED)
			die("cannot map the file SPARE_DILATION_PAGE");
		close(fd);
		page_ = static_cast<dilation::Page *>(at);
		page_->k_milli = k_milli_.load();
		page_->magic = dilation::magic;
	}

	void redraw()
	{
		pthread_mutex_lock(&lock_);
		uint32_t wanted = page_->k_milli;
		const uint32_t k = std::clamp(wanted, dilation::min_milli, dilation::max_milli);
		if (k != wanted)
			page_->k_milli.compare_exchange_strong(wanted, k);
		seq_.fetch_add(1, std::memory_order_acq_rel);
		std::atomic_thread_fence(std::memory_order_release);
		const Ns at = outer(CLOCK_MONOTONIC);
		own_ = own_ + (at - outer_) * 1000 / k_milli_;
		outer_ = at;
		k_milli_ = k;
		seq_.fetch_add(1, std::memory_order_release);
		pthread_mutex_unlock(&lock_);
	}

	std::atomic<uint32_t> seq_{0}, k_milli_;
	std::atomic<Ns> outer_, own_;
	Ns start_, realtime_, boottime_, limit_;
	dilation::Page *page_ = nullptr;
	pthread_mutex_t lock_ = PTHREAD_MUTEX_INITIALIZER;
};

/* Made at the first reading, which may come before this library's constructors. */
Clock &the_clock()
{
	static Clock clock;

	return clock;
}

/*
 * The shortest slice that EEVDF takes, inherited by all threads of this process: who wakes gets a CPU within it, and not when the slice of
 * another emulated CPU, or of other work of the machine, ends (3 to 4 ms). Older kernels (before 6.12) have one slice for all, and ignore this.
 */
__attribute__((constructor)) void short_slices()
{
	struct {
		uint32_t size, policy;
		uint64_t flags;
		int32_t nice;
		uint32_t priority;
		uint64_t runtime, deadline, period;
	} attr{};

	syscall(SYS_sched_getattr, 0, &attr, sizeof(attr), 0);
	attr.size = sizeof(attr);
	attr.runtime = 100000;
	if (attr.policy == SCHED_OTHER)
		syscall(SYS_sched_setattr, 0, &attr, 0);
}

/* --- functions of QEMU's own that are replaced */

int64_t (*cpu_get_clock)();

int64_t ticks()
{
	return cpu_get_clock();
}

/* cpu_get_ticks(), what RDTSC reads, becomes ticks(). */
__attribute__((constructor)) void replace_tsc()
{
	auto *entry = qemu::function<int64_t()>("cpu_get_ticks");

	cpu_get_clock = qemu::function<int64_t()>("cpu_get_clock");
	if (!entry && !cpu_get_clock)
		return; /* a program that QEMU is started by (env, timeout) */
	if (!entry || !cpu_get_clock)
		die("this QEMU has no cpu_get_ticks() or no cpu_get_clock(): its TSC would run by another clock");
	qemu::replace(entry, &ticks);
}

} // namespace

extern "C" {

int clock_gettime(clockid_t clock, timespec *t) noexcept
{
	static const auto real = NEXT(clock_gettime);
	Ns ahead;

	if (!the_clock().offset(clock, ahead))
		return real(clock, t);
	*t = timespec_of(the_clock().now() + ahead);
	return 0;
}

int gettimeofday(timeval *t, void *) noexcept
{
	const Ns now = the_clock().realtime();

	*t = {time_t(now / second), suseconds_t(now % second / 1000)};
	return 0;
}

time_t time(time_t *t) noexcept
{
	const time_t now = time_t(the_clock().realtime() / second);

	if (t)
		*t = now;
	return now;
}

int ppoll(pollfd *fds, nfds_t n, const timespec *wait, const sigset_t *mask)
{
	static const auto real = NEXT(ppoll);
	const timespec outside = timespec_of(wait ? std::min(the_clock().outside(ns_of(*wait)), longest_wait) : longest_wait);

	the_clock().check_limit();
	return real(fds, n, &outside, mask);
}

int __ppoll_chk(pollfd *fds, nfds_t n, const timespec *wait, const sigset_t *mask, size_t)
{
	return ppoll(fds, n, wait, mask);
}

/* (Not the main loop: whoever else waits so may not expect to be woken for nothing.) */
int poll(pollfd *fds, nfds_t n, int ms)
{
	static const auto real = NEXT(poll);

	return real(fds, n, ms > 0 ? int(std::min<Ns>(the_clock().outside(ms), INT32_MAX)) : ms);
}

int __poll_chk(pollfd *fds, nfds_t n, int ms, size_t)
{
	return poll(fds, n, ms);
}

int nanosleep(const timespec *wait, timespec *left)
{
	static const auto real = NEXT(nanosleep);
	const timespec outside = timespec_of(the_clock().outside(ns_of(*wait)));

	return real(&outside, left);
}

int usleep(useconds_t us)
{
	const timespec wait = timespec_of(Ns(us) * 1000);

	return nanosleep(&wait, nullptr);
}

int pthread_cond_timedwait(pthread_cond_t *cond, pthread_mutex_t *mutex, const timespec *until)
{
	static const auto real = reinterpret_cast<decltype(&pthread_cond_timedwait)>(dlvsym(RTLD_NEXT, "pthread_cond_timedwait", "GLIBC_2.3.2"));
	const timespec outside = the_clock().deadline(*until);

	return real(cond, mutex, &outside);
}

int pthread_setname_np(pthread_t thread, const char *name) noexcept
{
	static const auto real = NEXT(pthread_setname_np);
	const char *emulated = getenv("SPARE_PIN_CPUS");
	cpu_set_t usable, own;
	unsigned n;

	if (emulated && sscanf(name, "CPU %u/TCG", &n) == 1 && !sched_getaffinity(0, sizeof(usable), &usable) && CPU_COUNT(&usable) == atoi(emulated)) {
		CPU_ZERO(&own);
		for (unsigned cpu = 0, i = 0; cpu < CPU_SETSIZE; cpu++)
			if (CPU_ISSET(cpu, &usable) && i++ == n)
				CPU_SET(cpu, &own);
		pthread_setaffinity_np(thread, sizeof(own), &own);
	}
	return real(thread, name);
}

int sem_timedwait(sem_t *sem, const timespec *until)
{
	static const auto real = NEXT(sem_timedwait);
	const timespec outside = the_clock().deadline(*until);

	return real(sem, &outside);
}

} // extern "C"
