// SPDX-License-Identifier: GPL-2.0-only
/*
 * spare-burn - burning threads in cgroups, and what CPU each cgroup got (CBS-9).
 *
 *   spare-burn --seconds 10 a=/sys/fs/cgroup/a,1 b=/sys/fs/cgroup/b,3 c=/sys/fs/cgroup,1,5
 *   spare-burn                 burn until somebody ends it, at hardly any cost of the emulator's
 *   spare-burn --rest          the same for the real-time host
 *
 * A group is NAME=DIRECTORY,THREADS[,NICE]. Each thread counts chunks of the same work. The CPU that a group got is its chunks times the
 * shortest time that any chunk took (nobody was switched away in that one): no kernel account is asked, some of them miss time.
 * With --real-time N,M each thread makes itself SCHED_FIFO for N of every M chunks. With --cookie NAME the threads of that group share a core
 * with nobody else (core scheduling).
 * The tool itself sleeps, as SCHED_FIFO, and takes the difference of two readings.
 *
 * Figures: NAME.cpu_ns; NAME.share_ppm of one CPU; NAME.least_ppm and .most_ppm of its threads; NAME.gap_max_ns, the longest time in
 * which one of its threads did not run (it counts from the thread's first run, and to the end); NAME.usage_ppm: what the kernel says that the cgroup had
 * (cpu.stat), with the ticks and the switches that are on nobody's chunks.
 */
#include "cli/options.hpp"
#include "tool_util.h"
#include "tools.h"

#include <algorithm>
#include <atomic>
#include <csignal>
#include <thread>
#include <vector>

#include <fcntl.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

using namespace tool;

namespace spare_burn {
namespace {

struct group {
	std::string name, dir;
	unsigned threads = 1, first = 0;
	int nice = 0;
	bool cookie = false;
};

struct alignas(64) counter {
	std::atomic<uint64_t> chunks, shortest, last, gap;
};

counter *counters;
constexpr unsigned counters_max = 8192;

/* About 30 us of instructions in the deterministic host. */
void chunk()
{
	for (unsigned i = 0; i < 30; i++)
		spend();
}

struct {
	uint64_t chunks = 0, of = 1;
} real_time;

/* The thread's class for its i-th chunk. */
void change_class(uint64_t i)
{
	const sched_param fifo{1}, other{0};

	if (!real_time.chunks)
		return;
	if (i % real_time.of == 0 && sched_setscheduler(0, SCHED_OTHER, &other))
		die("SCHED_OTHER");
	if (i % real_time.of == real_time.of - real_time.chunks && sched_setscheduler(0, SCHED_FIFO, &fifo))
		die("SCHED_FIFO");
}

[[noreturn]] void burn(counter &c)
{
	uint64_t t = now_ns();

	c.shortest = UINT64_MAX;
	c.last = t;
	for (;;) {
		change_class(c.chunks.load(std::memory_order_relaxed));
		chunk();
		const uint64_t now = now_ns(), took = now - t;

		if (took < c.shortest.load(std::memory_order_relaxed))
			c.shortest.store(took, std::memory_order_relaxed);
		if (took > c.gap.load(std::memory_order_relaxed))
			c.gap.store(took, std::memory_order_relaxed);
		c.chunks.store(c.chunks.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
		c.last.store(now, std::memory_order_relaxed);
		t = now;
	}
}

group parse_group(const std::string &text)
{
	group g;
	const size_t eq = text.find('=');
	std::vector<std::string> part;

	if (eq == std::string::npos)
		die("'{}' is not NAME=DIRECTORY,THREADS[,NICE]", text);
	g.name = text.substr(0, eq);
	for (size_t at = eq + 1; at <= text.size();) {
		const size_t end = std::min(text.find(',', at), text.size());

		part.push_back(text.substr(at, end - at));
		at = end + 1;
	}
	const unsigned threads = part.size() > 1 ? to_number<unsigned>(part[1]).value_or(0) : 0;
	const auto nice = part.size() > 2 ? to_number<int>(part[2]) : std::optional<int>(0);

	if (!threads || !nice || part.size() > 3)
		die("'{}' is not NAME=DIRECTORY,THREADS[,NICE]", text);
	g.dir = part[0];
	g.threads = threads;
	g.nice = *nice;
	return g;
}

pid_t start(const group &g)
{
	const pid_t pid = fork();

	if (pid < 0)
		die("fork");
	if (pid)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (g.nice && setpriority(PRIO_PROCESS, 0, g.nice))
		die("nice {}", g.nice);
	/* All threads are there before the group enters: a limited one would make them for minutes. */
	std::atomic<bool> gate = false; /* (a futex: behind a pipe they would wait for its mutex one after the other, with a switch for each) */
	std::vector<std::thread> rest;

	for (unsigned i = 1; i < g.threads; i++)
		rest.emplace_back([&g, &gate, i] {
			gate.wait(false);
			burn(counters[g.first + i]);
		});
	if (g.cookie && prctl(PR_SCHED_CORE, PR_SCHED_CORE_CREATE, 0, PR_SCHED_CORE_SCOPE_THREAD_GROUP, 0))
		die("a cookie for {}: core scheduling", g.name);
	if (!write_file(g.dir + "/cgroup.procs", "0"))
		die("cannot enter {}", g.dir);
	/* Before those that it has woken already: they burn. */
	const sched_param fifo{50}, other{0};

	if (sched_setscheduler(0, SCHED_FIFO, &fifo))
		die("SCHED_FIFO");
	gate = true;
	gate.notify_all();
	if (sched_setscheduler(0, SCHED_OTHER, &other))
		die("SCHED_OTHER");
	burn(counters[g.first]);
}

struct reading {
	uint64_t at;
	std::vector<uint64_t> chunks, usage_us;
};

reading read_counters(unsigned nr, const std::vector<group> &groups)
{
	reading r{now_ns(), {}, {}};

	for (unsigned i = 0; i < nr; i++)
		r.chunks.push_back(counters[i].chunks.load());
	for (const auto &g : groups)
		r.usage_us.push_back(flat_number<uint64_t>(read_file(g.dir + "/cpu.stat").value_or(""), "usage_usec").value_or(0));
	return r;
}

void report(const group &g, const reading &from, const reading &to, uint64_t chunk_ns)
{
	const double elapsed = double(to.at - from.at);
	double sum = 0, least = elapsed, most = 0;
	uint64_t gap = 0;

	for (unsigned i = g.first; i < g.first + g.threads; i++) {
		const double cpu = double((to.chunks[i] - from.chunks[i]) * chunk_ns);
		const uint64_t last = counters[i].last.load();

		sum += cpu;
		least = std::min(least, cpu);
		most = std::max(most, cpu);
		gap = std::max({gap, counters[i].gap.load(), last ? to.at - std::min(to.at, last) : to.at - from.at});
	}
	fmt::print("{0}.cpu_ns {1:.0f}\n{0}.share_ppm {2:.0f}\n{0}.least_ppm {3:.0f}\n{0}.most_ppm {4:.0f}\n{0}.gap_max_ns {5}\n", g.name,
		   sum, sum / elapsed * 1e6, least / elapsed * 1e6, most / elapsed * 1e6, gap);
}

} // namespace

int run(int argc, char **argv)
{
	cli::App app("burning threads in cgroups, and what CPU each cgroup got, as flat `key value` lines");
	std::vector<std::string> specs, cookies;
	std::vector<group> groups;
	std::vector<pid_t> pids;
	std::string fifo_text;
	double seconds = 10, warm = 1;
	unsigned nr = 0;
	bool rests = false;

	auto *of_groups = app.add_option("groups", specs, "NAME=DIRECTORY,THREADS[,NICE]; none: this thread burns until somebody ends it");
	app.add_option("--seconds", seconds, "measured time")->check(cli::PositiveNumber());
	app.add_option("--warm", warm, "time before it")->check(cli::NonNegativeNumber());
	app.add_option("--real-time", fifo_text, "N,M: each thread is SCHED_FIFO for N of M chunks, by itself");
	app.add_option("--cookie", cookies, "a group whose threads share a core with nobody else")->allow_extra_args(false);
	app.add_flag("--rest", rests, "without groups: burn as rest() does")->excludes(of_groups);
	if (const auto status = app.parse(argc, argv))
		return *status;
	while (specs.empty())
		rests ? rest() : spend();
	if (!fifo_text.empty()) {
		const size_t comma = std::min(fifo_text.find(','), fifo_text.size() - 1);

		real_time.chunks = to_number<unsigned>(fifo_text.substr(0, comma)).value_or(0);
		real_time.of = to_number<unsigned>(fifo_text.substr(comma + 1)).value_or(0);
		if (!real_time.chunks || real_time.chunks >= real_time.of)
			die("'{}' is not N,M with 0 < N < M", fifo_text);
	}

	for (const auto &s : specs) {
		groups.push_back(parse_group(s));
		groups.back().first = nr;
		nr += groups.back().threads;
	}
	for (const auto &name : cookies) {
		const auto g = std::find_if(groups.begin(), groups.end(), [&](const auto &it) { return it.name == name; });

		if (g == groups.end())
			die("there is no group {}", name);
		g->cookie = true;
	}
	if (nr > counters_max)
		die("more than {} threads", counters_max);
	void *p = mmap(nullptr, counters_max * sizeof(counter), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		die("mmap");
	counters = static_cast<counter *>(p);
	for (const auto &g : groups)
		pids.push_back(start(g));
	/* After the forks: a child's class is its own. */
	const sched_param fifo{50};

	if (sched_setscheduler(0, SCHED_FIFO, &fifo))
		die("SCHED_FIFO");
	sleep_for(uint64_t(warm * 1e9));
	const reading from = read_counters(nr, groups);

	sleep_for(uint64_t(seconds * 1e9));
	const reading to = read_counters(nr, groups);
	uint64_t chunk_ns = UINT64_MAX;

	for (unsigned i = 0; i < nr; i++)
		if (counters[i].chunks)
			chunk_ns = std::min(chunk_ns, counters[i].shortest.load());
	fmt::print("elapsed_ns {}\nchunk_ns {}\n", to.at - from.at, chunk_ns);
	for (size_t i = 0; i < groups.size(); i++) {
		report(groups[i], from, to, chunk_ns);
		fmt::print("{}.usage_ppm {:.0f}\n", groups[i].name, double(to.usage_us[i] - from.usage_us[i]) * 1e9 / double(to.at - from.at));
	}
	for (const pid_t pid : pids)
		kill(pid, SIGKILL);
	for (const pid_t pid : pids)
		waitpid(pid, nullptr, 0);
	return 0;
}

} // namespace spare_burn
