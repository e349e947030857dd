// SPDX-License-Identifier: GPL-2.0-only
/*
 * spare-cost - what the host's scheduler costs: time per context switch and from a wake-up to the run (E7).
 *
 * In the deterministic host CLOCK_MONOTONIC counts instructions (2 ns each), so a mean of thousands of rounds is the number of
 * instructions to a fraction of one per cent. Tests, each preceded by a warm-up of the same kind:
 *   pipe    two processes send one byte to and fro; per way: one wake-up, one switch, a read and a write
 *   futex   two processes wake each other by a futex
 *   yield   two processes call sched_yield(); per context switch
 *   timer   a process sleeps until an instant on an idle CPU: how much later than asked it runs
 *   hogged  the same while another process burns the CPU
 *   chain   five processes pass a byte round: per way
 *   syscall the cheapest system call, which no scheduler changes (a check that two runs compare)
 * Figures: TEST.ns, the mean; TEST.p50_ns, .p99_ns, .max_ns where single events are timed.
 */
#include "cli/options.hpp"
#include "tool_util.h"
#include "tools.h"

#include <algorithm>
#include <atomic>
#include <array>
#include <climits>
#include <csignal>
#include <functional>
#include <map>
#include <vector>

#include <linux/futex.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

using namespace tool;

namespace spare_cost {
namespace {

struct Shared {
	std::atomic<uint32_t> turn{0};
	std::atomic<bool> stop{false};
};

Shared *shared;

/* A child that runs fn; killed when the tool dies. */
template <typename F> pid_t spawn(F fn)
{
	const pid_t pid = fork();

	if (pid < 0)
		die("fork");
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		fn();
		_exit(0);
	}
	return pid;
}

void reap(pid_t pid)
{
	kill(pid, SIGKILL);
	waitpid(pid, nullptr, 0);
}

void report(const char *test, double ns)
{
	fmt::print("{}.ns {:.0f}\n", test, ns);
}

void report(const char *test, std::vector<uint64_t> &v)
{
	uint64_t sum = 0;

	if (v.empty())
		die("{}: nothing measured", test);
	std::sort(v.begin(), v.end());
	for (const uint64_t x : v)
		sum += x;
	report(test, double(sum) / double(v.size()));
	fmt::print("{0}.p50_ns {1}\n{0}.p99_ns {2}\n{0}.max_ns {3}\n", test, v[v.size() / 2], v[v.size() * 99 / 100], v.back());
}

void transfer(ssize_t n)
{
	if (n != 1)
		die("pipe");
}

/* A ring of n processes around which one byte goes. */
void ring(const char *test, unsigned n, unsigned rounds)
{
	std::vector<std::array<int, 2>> link(n);
	std::vector<pid_t> child;
	uint64_t start = 0;
	char byte = 0;

	for (auto &l : link)
		if (pipe2(l.data(), O_CLOEXEC))
			die("pipe");
	for (unsigned i = 1; i < n; i++)
		child.push_back(spawn([&, i] {
			for (;;) {
				transfer(read(link[i - 1][0], &byte, 1));
				transfer(write(link[i][1], &byte, 1));
			}
		}));
	for (unsigned i = 0; i < rounds + rounds / 8; i++) {
		if (i == rounds / 8)
			start = now_ns();
		transfer(write(link[0][1], &byte, 1));
		transfer(read(link[n - 1][0], &byte, 1));
	}
	report(test, double(now_ns() - start) / rounds / n);
	for (const pid_t pid : child)
		reap(pid);
	for (auto &l : link)
		for (const int fd : l)
			close(fd);
}

long futex(std::atomic<uint32_t> &word, int op, uint32_t value)
{
	return syscall(SYS_futex, &word, op, value, nullptr, nullptr, 0);
}

void turn_wait(uint32_t mine)
{
	uint32_t t;

	while ((t = shared->turn.load()) % 2 != mine)
		futex(shared->turn, FUTEX_WAIT, t);
}

void turn_pass()
{
	shared->turn.fetch_add(1);
	futex(shared->turn, FUTEX_WAKE, 1);
}

void futexes(const char *test, unsigned rounds)
{
	uint64_t start = 0;

	shared->turn = 0;
	const pid_t pid = spawn([] {
		for (;;) {
			turn_wait(1);
			turn_pass();
		}
	});

	for (unsigned i = 0; i < rounds + rounds / 8; i++) {
		if (i == rounds / 8)
			start = now_ns();
		turn_pass();
		turn_wait(0);
	}
	report(test, double(now_ns() - start) / rounds / 2);
	reap(pid);
}

long switches()
{
	rusage u{};

	getrusage(RUSAGE_SELF, &u);
	return u.ru_nvcsw + u.ru_nivcsw;
}

void yields(const char *test, unsigned rounds)
{
	uint64_t start = 0;
	long sw = 0;
	const pid_t pid = spawn([] {
		for (;;)
			sched_yield();
	});

	for (unsigned i = 0; i < rounds + rounds / 8; i++) {
		if (i == rounds / 8) {
			start = now_ns();
			sw = switches();
		}
		sched_yield();
	}
	/* Each switch away from this process is followed by one back. */
	sw = switches() - sw;
	report(test, sw ? double(now_ns() - start) / double(sw) / 2 : 0);
	fmt::print("{}.switches {}\n", test, 2 * sw);
	reap(pid);
}

/* How late does a sleeper run? Intervals of 150 to 950 us, so that they meet every phase of the tick. */
void sleeps(const char *test, unsigned rounds, bool hog)
{
	std::vector<uint64_t> late;
	const pid_t pid = hog ? spawn([] {
		for (;;)
			asm volatile("" ::: "memory");
	}) : 0;
	uint64_t at = now_ns() + 1000000;

	for (unsigned i = 0; i < rounds + 50; i++) {
		sleep_until(at);
		const uint64_t now = now_ns();

		if (i >= 50)
			late.push_back(now - at);
		at = now + 150000 + (i * 7919 % 800) * 1000;
	}
	report(test, late);
	if (pid)
		reap(pid);
}

void syscalls(const char *test, unsigned rounds)
{
	const uint64_t start = now_ns();

	for (unsigned i = 0; i < rounds; i++)
		syscall(SYS_getppid);
	report(test, double(now_ns() - start) / rounds);
}

} // namespace

int run(int argc, char **argv)
{
	cli::App app("what the host's scheduler costs, as flat `key value` lines");
	std::vector<std::string> wanted;
	unsigned rounds = 10000;
	const std::map<std::string, std::function<void(const char *)>> tests = {
		{"pipe", [&](const char *t) { ring(t, 2, rounds); }},
		{"chain", [&](const char *t) { ring(t, 5, rounds / 2); }},
		{"futex", [&](const char *t) { futexes(t, rounds); }},
		{"yield", [&](const char *t) { yields(t, rounds); }},
		{"timer", [&](const char *t) { sleeps(t, rounds, false); }},
		{"hogged", [&](const char *t) { sleeps(t, rounds / 10, true); }},
		{"syscall", [&](const char *t) { syscalls(t, rounds); }},
	};

	app.add_option("tests", wanted, "tests to run (default: all)");
	app.add_option("--rounds", rounds, "rounds of each test; the sleepers do a tenth")->check(cli::Range(80u, 10000000u));
	if (const auto status = app.parse(argc, argv))
		return *status;

	void *p = mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		die("mmap");
	shared = new (p) Shared;
	if (mlockall(MCL_CURRENT | MCL_FUTURE))
		die("mlockall");
	/* Else the kernel may let a sleeper wait 50 us longer than it asked. */
	if (prctl(PR_SET_TIMERSLACK, 1))
		die("timer slack");
	if (wanted.empty())
		wanted = {"pipe", "chain", "futex", "yield", "timer", "hogged", "syscall"};
	for (const auto &name : wanted) {
		const auto it = tests.find(name);

		if (it == tests.end())
			die("there is no test '{}'", name);
		it->second(name.c_str());
	}
	return 0;
}

} // namespace spare_cost
