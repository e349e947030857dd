/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * spare-speed - how much work a CPU of this host does in a second of the host's own clock. In the virtual host it can choose the
 * dilation (dilation.cpp) so that this is a wanted amount, and it can watch that a measurement had it.
 *
 *   spare-speed [--ms MS] [--dilation K | --wanted UNITS [--pace]] [-- COMMAND ARG...]
 *
 * A unit of work is what the emulator does for a packet, in small: 256 rounds of shifts, loads and stores in 64 KiB and indirect
 * calls, and a system call. It runs on all CPUs that this process may use at once, then on the last one alone, with real-time priority,
 * so that what else runs on them does not count, for MS ms each (200). The speed, in units per second, is a geometric mean of the slowest
 * CPU's at once (three quarters) and of the last one's alone: a packet's work is done by one CPU after the other, mostly beside a guest that
 * computes, and on a machine with fewer CPUs than it emulates that is not the same.
 *
 * --dilation sets it to K. --pace sets it so that the speed is UNITS, within 1 and 10 (dilation_page.h): up to six rounds, until a look is within
 * 80 and 125 % of that. Of what such a look is off, the dilation takes up a third: on a shared machine (one was seen to do 0.6 to 2.3 of its mean
 * speed in half seconds that followed each other) most of it is the look's own, and the mean of many is what counts.
 *
 * COMMAND is run between two looks (the second one is the median of three when the first of them was off). When their geometric mean is
 * below 80 % of UNITS (default: of the first), or with --pace above 125 % although there is a dilation to take back, what COMMAND has
 * measured is worth nothing: it is run again, at most twice. It writes its results so that the last run's count. With --pace after a rest, 5 and 10
 * of the host's seconds: what slows down a shared machine was seen to last for half a minute.
 *
 * Prints "KEY VALUE" lines: speed_before, speed_after (with COMMAND), dilation (1 where the clock is the real one), tries (with COMMAND).
 * Exit status: 0; COMMAND's when that is not 0; 75 (EX_TEMPFAIL) when it had not its speed three times; 2 when it cannot measure.
 */
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <sysexits.h>

#include <algorithm>
#include <array>
#include <barrier>
#include <chrono>
#include <cmath>
#include <filesystem>
#include <thread>
#include <vector>

#include "cli/options.hpp"
#include "dilation_page.h"
#include "tool_util.h"

namespace {

constexpr double too_slow = 0.80, too_fast = 1 / too_slow, own_error = 2.0 / 3, at_once_part = 0.75;
constexpr int most_rounds = 6, most_tries = 3, rest_s = 5;

/* --- the work */

struct Work;
using Step = void (*)(Work &);
template <int N> void step(Work &w);

/*
 * All that the loop reads, in pages beside each other (with the thread's stack, where it is): the emulator's TLB is direct-mapped, and small after
 * a guest has run, so that two pages elsewhere might displace each other at every step, or not, as the addresses of this process fell.
 */
struct Work {
	std::array<Step, 8> steps = {step<1>, step<2>, step<3>, step<4>, step<5>, step<6>, step<7>, step<8>};
	std::array<uint32_t, 16384> memory{};
	uint32_t x = 2463534242;
};

template <int N> void step(Work &w)
{
	w.x ^= w.x << 13;
	w.x ^= w.x >> 17;
	w.x ^= w.x << 5;
	w.memory[(w.x >> N) % w.memory.size()] += w.x + N;
	w.x += w.memory[w.x % w.memory.size()];
}

void unit(Work &w)
{
	for (int i = 0; i < 256; i++) {
		const volatile Step next = w.steps[w.x % w.steps.size()];

		next(w);
	}
	syscall(SYS_getppid);
}

/* Units per second of this thread, over at least `ns`. */
double work(Work &w, uint64_t ns)
{
	const uint64_t begin = tool::now_ns();
	uint64_t now = begin, units = 0;

	for (; now - begin < ns; now = tool::now_ns(), units += 8)
		for (int i = 0; i < 8; i++)
			unit(w);
	return double(units) * 1e9 / double(now - begin);
}

/* --- where it runs */

/* May this thread run there? If so, it does. (A CPU that is offline, or another cpuset's own, is not for us.) */
bool move_to(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(unsigned(cpu), &set);
	return !sched_setaffinity(0, sizeof(set), &set);
}

std::vector<int> usable_cpus()
{
	std::vector<int> cpus;
	cpu_set_t before;

	sched_getaffinity(0, sizeof(before), &before);
	for (int cpu = 0; cpu < int(sysconf(_SC_NPROCESSORS_CONF)); cpu++)
		if (move_to(cpu))
			cpus.push_back(cpu);
	sched_setaffinity(0, sizeof(before), &before);
	if (cpus.empty())
		tool::die("there is no CPU to measure");
	return cpus;
}

void run_on(int cpu)
{
	const sched_param priority{.sched_priority = 1};

	if (!move_to(cpu))
		tool::die("cannot run on CPU {}", cpu);
	if (sched_setscheduler(0, SCHED_FIFO, &priority))
		tool::die("cannot have real-time priority (are you root?)");
}

/* Units per second of the slowest of these CPUs, all at work at once. */
double measure(const std::vector<int> &cpus, unsigned ms)
{
	std::vector<double> rates(cpus.size());
	std::vector<std::thread> threads;
	std::barrier together{std::ptrdiff_t(cpus.size())};

	for (size_t i = 0; i < cpus.size(); i++)
		threads.emplace_back([&, i] {
			Work w;

			run_on(cpus[i]);
			work(w, 1000000); /* the emulator meets the code for the first time */
			together.arrive_and_wait();
			rates[i] = work(w, uint64_t(ms) * 1000000);
		});
	for (auto &thread : threads)
		thread.join();
	return *std::min_element(rates.begin(), rates.end());
}

/* --- the dilation */

/* The page of the QEMU that emulates this host, or nullptr: this host's clock is nobody's. */
dilation::Page *shared_page()
{
	namespace fs = std::filesystem;
	std::error_code none;

	for (const auto &device : fs::directory_iterator("/sys/bus/pci/devices", none)) {
		const auto id = [&](const char *name) { return tool::read_file(device.path() / name).value_or(""); };

		if (id("vendor") != "0x1af4\n" || id("device") != "0x1110\n") /* ivshmem */
			continue;
		if (!tool::write_file(device.path() / "enable", "1"))
			continue; /* somebody else's */
		const tool::Fd fd(::open((device.path() / "resource2").c_str(), O_RDWR | O_CLOEXEC));
		void *at = mmap(nullptr, dilation::page_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0);
		if (at == MAP_FAILED)
			continue;
		auto *page = static_cast<dilation::Page *>(at);
		if (page->magic == dilation::magic)
			return page;
		munmap(at, dilation::page_bytes);
	}
	return nullptr;
}

struct Options {
	std::vector<int> cpus;
	unsigned ms = 200;
	double wanted = 0;
	bool pace = false;
	double dilation = 0;
	std::vector<std::string> command;
};

/* What the looks since it was emptied saw, for whoever asks why: "AT_ONCE:ALONE ...", in units per second. */
std::string looks;

double measure(const Options &o)
{
	const double together = measure(o.cpus, o.ms), alone = o.cpus.size() == 1 ? together : measure({o.cpus.back()}, o.ms);

	looks += fmt::format(" {:.0f}:{:.0f}", together, alone);
	return std::pow(together, at_once_part) * std::pow(alone, 1 - at_once_part);
}

/* The speed that was seen last, with the dilation chosen for the wanted one. */
double pace(const Options &o, dilation::Page &page)
{
	for (int i = 1;; i++) {
		const double speed = measure(o), off = speed / o.wanted;
		const bool near = off > too_slow && off < too_fast;
		const double k = double(page.k_milli) / (near ? std::pow(off, 1 - own_error) : off);
		const auto k_milli = uint32_t(std::clamp(k, double(dilation::min_milli), double(dilation::max_milli)));
		const bool at_limit = k_milli == page.k_milli;

		page.k_milli = k_milli;
		if (near || at_limit)
			return speed;
		if (i == most_rounds)
			return measure(o);
	}
}

/* --- around a command */

/* Its exit status; 128 and the signal when one ended it. */
int run(const std::vector<std::string> &command)
{
	std::vector<char *> words;
	int status;

	for (const auto &word : command)
		words.push_back(const_cast<char *>(word.c_str()));
	words.push_back(nullptr);
	const pid_t child = fork();
	if (child < 0)
		tool::die("cannot fork");
	if (!child) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		execvp(words[0], words.data());
		tool::die("cannot run {}", words[0]);
	}
	while (waitpid(child, &status, 0) < 0)
		if (errno != EINTR)
			tool::die("cannot wait for {}", words[0]);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

} // namespace

int main(int argc, char **argv)
{
	Options o;

	cli::App app("How much work a CPU does in a second of the host's own clock; and whether a command had it.");
	app.add_option("--ms", o.ms, "for so long")->check(cli::Range(1u, 60000u))->capture_default_str();
	auto *wanted = app.add_option("--wanted", o.wanted, "units per second")->check(cli::PositiveNumber());
	app.add_flag("--pace", o.pace, "choose the virtual host's dilation so that they are reached")->needs(wanted);
	app.add_option("--dilation", o.dilation, "the virtual host's clocks at 1/K from now on")->check(cli::Range(1.0, 10.0));
	app.add_option("command", o.command, "to run between two measurements");
	if (const auto status = app.parse(argc, argv))
		return *status;

	o.cpus = usable_cpus();
	dilation::Page *page = shared_page();
	if ((o.pace || o.dilation) && !page)
		tool::die("--pace, --dilation: this host's clock is the real one");
	if (o.dilation)
		page->k_milli = uint32_t(std::lround(o.dilation * 1000));
	/* Did the machine have the speed while COMMAND ran? */
	const auto paced = [&](double before, double after) {
		const double off = std::sqrt(before * after) / o.wanted;
		const bool fast = o.pace && page->k_milli > dilation::min_milli && off > too_fast;

		return off >= too_slow && !fast;
	};
	/* A hiccup of the machine after COMMAND says nothing of COMMAND. */
	const auto sample = [&] {
		std::array<double, 3> seen{measure(o)};

		if (paced(seen[0], seen[0]))
			return seen[0];
		seen[1] = measure(o);
		seen[2] = measure(o);
		std::sort(seen.begin(), seen.end());
		return seen[1];
	};
	double before = 0, after = 0;
	int tries = 0, status = 0;
	do {
		before = o.pace ? pace(o, *page) : measure(o);
		if (o.command.empty())
			break;
		if (!o.wanted)
			o.wanted = before;
		status = run(o.command);
		if (status)
			break;
		looks.clear();
		after = sample();
		if (!paced(before, after))
			fmt::print(stderr, "{:.0f} units per second before it and {:.0f} after it (all CPUs at once:the last one alone{}; clocks at 1/{:.2f}), where {:.0f} are wanted: not counted\n", before,
				   after, looks, page ? double(page->k_milli) / 1000 : 1.0, o.wanted);
		if (++tries == most_tries || paced(before, after))
			break;
		if (o.pace)
			std::this_thread::sleep_for(std::chrono::seconds(rest_s * tries));
	} while (true);
	std::fflush(stdout);
	fmt::print("speed_before {:.0f}\n", before);
	if (tries)
		fmt::print("speed_after {:.0f}\ntries {}\n", after, tries);
	fmt::print("dilation {:.3f}\n", page ? double(page->k_milli) / 1000 : 1.0);
	if (status)
		return status;
	return tries && !paced(before, after) ? EX_TEMPFAIL : 0;
}
