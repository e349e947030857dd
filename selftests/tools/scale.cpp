// SPDX-License-Identifier: GPL-2.0-only
/*
 * spare-scale - makes many VMs and says what they cost: time to make them, kernel memory of each, and what a wake-up and a switch
 * take in one VM while all the others are there (E8).
 *
 *   1. makes --vms cgroups below --parent, and has a process come and go in each, as it will in step 3: a plain cgroup
 *   2. writes the reservation, the CPU (round robin over --cpus) and, with --use, the link to a pool, in each
 *   3. starts a process in each: with --burn one that burns, so that each server is ready or throttled in its turn
 *   4. two processes, in the cgroups --pair and --partner, wake each other by a futex for --rounds rounds and sleep in between: per way one
 *      wake-up and one switch, on CPU 0, while all others go on ("busy"), and again when those of the other CPUs have ended, so that
 *      CPU 0 has the clock of icount for itself ("way"). What nothing interrupted, the lower quartile, is a path length.
 *   5. ends the processes, removes all, and says how much memory has not come back ("kept").
 *
 * Memory is that of the slab objects in use (/proc/slabinfo; not Slab in /proc/meminfo, which counts the pages that the allocator
 * keeps for later), and Percpu and VmallocUsed, after deferred work has settled. "cgroup" is what a plain cgroup holds after
 * step 1, "vm" what steps 2 and 3 have added to that and what stays when the processes are gone: structures, servers, and
 * queues as far as the stock had none. Each stage says on stderr when it is over.
 */
#include "cli/options.hpp"
#include "tool_util.h"
#include "tools.h"

#include <algorithm>
#include <atomic>
#include <cinttypes>
#include <climits>
#include <csignal>
#include <functional>
#include <vector>

#include <linux/futex.h>
#include <linux/sched.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

using namespace tool;

namespace spare_scale {
namespace {

constexpr uint64_t kMs = 1000000;

struct options {
	std::string parent = "/sys/fs/cgroup/scale", use, pair, partner, reservation = "500 100000";
	unsigned vms = 100, cpus = 1, rounds = 0;
	bool burn = false, bpf_stats = false;
};

struct memory {
	uint64_t slab = 0, percpu = 0, vmalloc = 0; /* bytes */
};

/* On stderr: what has just been done, and the seconds since the start. */
void stage(const char *what)
{
	static const uint64_t began = now_ns();

	fmt::print(stderr, "# {:6.2f} s {}\n", double(now_ns() - began) / 1e9, what);
}

uint64_t meminfo(const std::string &text, std::string_view key)
{
	const size_t at = text.find(fmt::format("\n{}:", key));

	if (at == std::string::npos)
		die("/proc/meminfo has no {}", key);
	return std::strtoull(text.c_str() + at + key.size() + 2, nullptr, 10) * 1024;
}

/* Objects in use times their size, of all caches: "name active total size ..." after two lines of heading. */
uint64_t slab_in_use()
{
	const auto text = read_file("/proc/slabinfo");
	uint64_t sum = 0;

	if (!text)
		die("/proc/slabinfo");
	for (size_t at = 0; at < text->size(); at = text->find('\n', at) + 1) {
		uint64_t active, total, size;

		if (std::sscanf(text->c_str() + at, "%*s %" SCNu64 " %" SCNu64 " %" SCNu64, &active, &total, &size) == 3)
			sum += active * size;
	}
	return sum;
}

memory look()
{
	/* Grace periods, work queues. */
	sleep_for(1000 * kMs);
	const auto text = read_file("/proc/meminfo");

	if (!text)
		die("/proc/meminfo");
	return {slab_in_use(), meminfo(*text, "Percpu"), meminfo(*text, "VmallocUsed")};
}

void print_per_vm(const char *what, const memory &from, const memory &to, unsigned vms)
{
	const auto per_vm = [vms](uint64_t a, uint64_t b) { return int64_t(b - a) / int64_t(vms); };
	const int64_t slab = per_vm(from.slab, to.slab), percpu = per_vm(from.percpu, to.percpu), vmalloc = per_vm(from.vmalloc, to.vmalloc);

	fmt::print("{0}.memory_per_vm {1}\n{0}.slab_per_vm {2}\n{0}.percpu_per_vm {3}\n{0}.vmalloc_per_vm {4}\n", what,
		   slab + percpu + vmalloc, slab, percpu, vmalloc);
}

void put(const std::string &file, std::string_view text)
{
	if (!write_file(file, text))
		die("{} > {}", text, file);
}

/* Time of each of n steps: in all, and of the first and the last hundred, which differ when it grows with n. */
class Pace {
public:
	explicit Pace(unsigned n) { at_.reserve(n + 1); at_.push_back(now_ns()); }
	void step() { at_.push_back(now_ns()); }
	void print(const char *what) const
	{
		const size_t n = at_.size() - 1, part = std::min<size_t>(n, 100);

		fmt::print("{0}.total_us {1}\n{0}.each_ns {2}\n{0}.first_ns {3}\n{0}.last_ns {4}\n", what, (at_[n] - at_[0]) / 1000,
			   (at_[n] - at_[0]) / n, (at_[part] - at_[0]) / part, (at_[n] - at_[n - part]) / part);
	}

private:
	std::vector<uint64_t> at_;
};

/* Born in the cgroup: moving it there would wait for a grace period, a thousand times. */
pid_t spawn_in(const std::string &dir, const std::function<void()> &work)
{
	const Fd cgroup(open(dir.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
	clone_args args{};

	if (!cgroup)
		die("{}", dir);
	args.flags = CLONE_INTO_CGROUP;
	args.exit_signal = SIGCHLD;
	args.cgroup = uint64_t(cgroup.get());
	const long pid = syscall(SYS_clone3, &args, sizeof(args));
	if (pid < 0)
		die("clone3 into {}", dir);
	if (pid)
		return pid_t(pid);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	work();
	_exit(0);
}

void reap(pid_t pid)
{
	kill(pid, SIGKILL);
	waitpid(pid, nullptr, 0);
}

using word = std::atomic<uint32_t>;

void futex(word &w, int op, uint32_t value)
{
	syscall(SYS_futex, &w, op, value, nullptr, nullptr, 0);
}

/* Memory that processes born later share. */
void *shared(size_t bytes)
{
	void *p = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	if (p == MAP_FAILED)
		die("mmap");
	return p;
}

/* Waits for its own turn, gives it to the other. */
struct Ball {
	word turn{0};

	void wait(uint32_t mine)
	{
		for (uint32_t t; (t = turn.load()) != mine;)
			futex(turn, FUTEX_WAIT, t);
	}
	void pass(uint32_t other)
	{
		turn.store(other);
		futex(turn, FUTEX_WAKE, 1);
	}
};

void on_cpu_0()
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(0, &set);
	if (sched_setaffinity(0, sizeof(set), &set))
		die("CPU 0");
}

/* Times of one way (half a round), sorted. */
std::vector<uint64_t> play(const options &o)
{
	const size_t bytes = sizeof(Ball) + o.rounds * sizeof(uint64_t);
	void *p = shared(bytes);
	Ball *ball = new (p) Ball;
	auto *way = reinterpret_cast<uint64_t *>(static_cast<char *>(p) + sizeof(Ball));

	const pid_t other = spawn_in(o.partner, [&] {
		on_cpu_0();
		for (;;) {
			ball->wait(1);
			ball->pass(0);
		}
	});
	const pid_t first = spawn_in(o.pair, [&] {
		on_cpu_0();
		for (unsigned i = 0; i < o.rounds; i++) {
			const uint64_t from = now_ns();

			ball->pass(1);
			ball->wait(0);
			way[i] = (now_ns() - from) / 2;
		}
	});
	waitpid(first, nullptr, 0);
	reap(other);
	std::vector<uint64_t> out(way, way + o.rounds);
	munmap(p, bytes);
	std::sort(out.begin(), out.end());
	return out;
}

void print_ways(const char *what, const std::vector<uint64_t> &v)
{
	fmt::print("{0}.min_ns {1}\n{0}.p25_ns {2}\n{0}.p50_ns {3}\n{0}.p90_ns {4}\n", what, v.front(), v[v.size() / 4], v[v.size() / 2],
		   v[v.size() * 9 / 10]);
}

class Crowd {
public:
	explicit Crowd(const options &o) : o_(o), go_(new (shared(sizeof(word))) word(0)) {}

	std::string dir(unsigned i) const { return fmt::format("{}/{}", o_.parent, i); }

	void make()
	{
		before_ = look();
		Pace made(o_.vms);

		for (unsigned i = 0; i < o_.vms; i++) {
			if (mkdir(dir(i).c_str(), 0755))
				die("mkdir {}", dir(i));
			made.step();
		}
		stage("cgroups made");
		populate(false);
		depopulate();
		plain_ = look();
		stage("a process has come and gone in each");
		made.print("cgroup");
		print_per_vm("cgroup", before_, plain_, o_.vms);
	}

	void place()
	{
		Pace reserved(o_.vms);

		for (unsigned i = 0; i < o_.vms; i++) {
			put(dir(i) + "/spare.reservation", o_.reservation);
			reserved.step();
		}
		Pace placed(o_.vms);
		for (unsigned i = 0; i < o_.vms; i++) {
			put(dir(i) + "/spare.cpus", std::to_string(i % o_.cpus));
			placed.step();
		}
		reserved.print("reserve");
		placed.print("place");
		stage("placed");
	}

	void link()
	{
		if (o_.use.empty())
			return;
		Pace linked(o_.vms);

		for (unsigned i = 0; i < o_.vms; i++) {
			put(dir(i) + "/spare.use", o_.use);
			linked.step();
		}
		linked.print("link");
		stage("linked");
	}

	void start()
	{
		populate(o_.burn);
		sleep_for(500 * kMs);
		stage("processes run");
	}

	/* How many have run where they have no server (as the host's tasks, charged later), and for how long. */
	void print_strays() const
	{
		uint64_t sum = 0, vms = 0;

		for (unsigned i = 0; i < o_.vms; i++) {
			const auto text = read_file(dir(i) + "/spare.stat");
			const uint64_t ns = text ? flat_number<uint64_t>(*text, "stray_ns").value_or(0) : 0;

			sum += ns;
			vms += ns != 0;
		}
		fmt::print("stray.vms {}\nstray.total_us {}\n", vms, sum / 1000);
	}

	/* What is not on CPU 0 ends; its servers stay. */
	void rest()
	{
		end([this](size_t i) { return i % o_.cpus != 0; });
		sleep_for(1000 * kMs);
	}

	void stop()
	{
		depopulate();
		print_per_vm("vm", plain_, look(), o_.vms);
		stage("processes ended");
	}

	void remove()
	{
		Pace gone(o_.vms);
		for (unsigned i = 0; i < o_.vms; i++) {
			for (unsigned tries = 0; rmdir(dir(i).c_str()); tries++)
				if (errno != EBUSY || tries > 1000)
					die("rmdir {}", dir(i));
				else
					sleep_for(10 * kMs);
			gone.step();
		}
		gone.print("remove");
		sleep_for(20000 * kMs);
		print_per_vm("kept", before_, look(), o_.vms);
		stage("removed");
	}

private:
	/*
	 * A process in each, all asleep until the last is there: those that burn would leave the host a tenth of each CPU to make the
	 * others with.
	 */
	void populate(bool burn)
	{
		go_->store(0);
		for (unsigned i = 0; i < o_.vms; i++)
			process_.push_back(spawn_in(dir(i), [this, burn] {
				while (!go_->load())
					futex(*go_, FUTEX_WAIT, 0);
				while (!burn)
					pause();
				for (;;)
					spend();
			}));
		go_->store(1);
		futex(*go_, FUTEX_WAKE, INT_MAX);
	}

	void depopulate()
	{
		end([](size_t) { return true; });
		process_.clear();
	}

	/* The processes for which which(index) is true, and have not ended yet. */
	void end(const std::function<bool(size_t)> &which)
	{
		for (size_t i = 0; i < process_.size(); i++)
			if (process_[i] && which(i))
				kill(process_[i], SIGKILL);
		for (size_t i = 0; i < process_.size(); i++)
			if (process_[i] && which(i)) {
				waitpid(process_[i], nullptr, 0);
				process_[i] = 0;
			}
	}

	const options &o_;
	word *go_;
	memory before_, plain_;
	std::vector<pid_t> process_;
};

} // namespace

int run(int argc, char **argv)
{
	cli::App app("makes many VMs and says what they cost");
	options o;

	app.add_option("--parent", o.parent, "cgroup below which they are made")->capture_default_str();
	app.add_option("--vms", o.vms, "how many; 0: only the pair")->capture_default_str()->check(cli::Range(0, 100000));
	app.add_option("--cpus", o.cpus, "on so many CPUs, in turn")->capture_default_str()->check(cli::Range(1, 1024));
	app.add_option("--reservation", o.reservation, "of each: Q P in us")->capture_default_str();
	app.add_option("--use", o.use, "pool that each may borrow from");
	app.add_flag("--burn", o.burn, "the process in each burns; else it sleeps");
	app.add_option("--pair", o.pair, "cgroup of one of the two processes that wake each other");
	app.add_option("--partner", o.partner, "cgroup of the other");
	app.add_option("--rounds", o.rounds, "of these two; 0: none")->capture_default_str();
	app.add_flag("--bpf-stats", o.bpf_stats, "then count the time of BPF programs for 4 s, while those on CPU 0 go on");
	if (const auto status = app.parse(argc, argv))
		return *status;
	errno = 0;
	setvbuf(stdout, nullptr, _IOLBF, 0);
	/* What the crowd leaves of a CPU is little; and it shall not disturb the pair. */
	const sched_param param{1};
	if (sched_setscheduler(0, SCHED_FIFO | SCHED_RESET_ON_FORK, &param))
		die("SCHED_FIFO");
	stage("begin");
	Crowd crowd(o);
	if (o.vms) {
		crowd.make();
		crowd.place();
		crowd.link();
		crowd.start();
	}
	if (o.rounds) {
		options warm = o;

		warm.rounds = 50;
		(void)play(warm);
		print_ways("busy", play(o));
		crowd.rest();
		print_ways("way", play(o));
		stage("played");
	}
	if (o.bpf_stats) {
		put("/proc/sys/kernel/bpf_stats_enabled", "1");
		sleep_for(4000 * kMs);
		put("/proc/sys/kernel/bpf_stats_enabled", "0");
		stage("callbacks counted");
	}
	if (o.vms) {
		crowd.print_strays();
		crowd.stop();
		crowd.remove();
	}
	return 0;
}

} // namespace spare_scale
