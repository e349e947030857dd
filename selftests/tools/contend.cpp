// SPDX-License-Identifier: GPL-2.0-only
/*
 * spare-contend - how long the host waits for a lock of the kernel's that a thread of a VM takes all the time (CBS-4)
 *
 *   spare-contend --cgroup /sys/fs/cgroup/vm/a --dir /tmp/shared --seconds 20     a directory's lock: each makes and removes one in it
 *   spare-contend --cgroup /sys/fs/cgroup/vm/a --device dum0 --seconds 20         RTNL: each sets the device's queue length
 *
 * The VM's thread does so without an end, the host's once in 7 ms. Figures: waits; wait_p50_ns, wait_p99_ns, wait_max_ns, from the host's
 * call to its return; turns, of the VM's thread; preempted: of the host's turns, those that waited for no lock but for the CPU, which a period of
 * the VM's took from it (not among the waits).
 */
#include "cli/options.hpp"
#include "tool_util.h"
#include "tools.h"

#include <algorithm>
#include <atomic>
#include <csignal>
#include <vector>

#include <linux/if.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

using namespace tool;

namespace spare_contend {
namespace {

constexpr uint64_t every_ns = 7'000'000;

struct contended {
	std::string dir, device;
	Fd socket;

	/* One turn with the lock. own: a name of the caller's. */
	void turn(const std::string &own) const
	{
		if (device.empty()) {
			const std::string path = dir + "/" + own;

			if (mkdir(path.c_str(), 0700) || rmdir(path.c_str()))
				die("{}", path);
			return;
		}
		ifreq request{};

		device.copy(request.ifr_name, IFNAMSIZ - 1);
		request.ifr_qlen = 100;
		if (ioctl(socket.get(), SIOCSIFTXQLEN, &request))
			die("{}: its queue length", device);
	}
};

/* How often this thread has let go of the CPU to wait, and how often it was taken from it. */
struct switches {
	long waited, preempted;
};

switches switches_now()
{
	rusage usage{};

	if (getrusage(RUSAGE_THREAD, &usage))
		die("getrusage");
	return {usage.ru_nvcsw, usage.ru_nivcsw};
}

} // namespace

int run(int argc, char **argv)
{
	cli::App app("how long the host waits for a lock that a VM's thread takes all the time, as flat `key value` lines");
	contended lock;
	std::string cgroup;
	double seconds = 20;

	app.add_option("--cgroup", cgroup, "the VM's")->required();
	app.add_option("--dir", lock.dir, "the lock of this directory");
	app.add_option("--device", lock.device, "RTNL, by this device");
	app.add_option("--seconds", seconds, "measured time")->check(cli::PositiveNumber());
	if (const auto status = app.parse(argc, argv))
		return *status;
	if (lock.dir.empty() == lock.device.empty())
		die("either --dir or --device");
	lock.socket = Fd(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
	void *p = mmap(nullptr, sizeof(uint64_t), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		die("mmap");
	std::atomic<uint64_t> &turns = *new (p) std::atomic<uint64_t>(0);
	const pid_t vm = fork();

	if (vm < 0)
		die("fork");
	if (!vm) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (!write_file(cgroup + "/cgroup.procs", "0"))
			die("cannot enter {}", cgroup);
		for (;;) {
			lock.turn("vm");
			turns++;
		}
	}
	sleep_for(1'000'000'000);
	std::vector<uint64_t> waits;
	uint64_t preempted = 0;
	const uint64_t from = now_ns(), to = from + uint64_t(seconds * 1e9), before = turns;

	for (uint64_t t = from; t < to; t += every_ns) {
		sleep_until(t);
		const switches was = switches_now();
		const uint64_t begin = now_ns();

		lock.turn("host");
		const uint64_t wait_ns = now_ns() - begin;
		const switches is = switches_now();

		if (is.waited == was.waited && is.preempted != was.preempted)
			preempted++;
		else
			waits.push_back(wait_ns);
		t = std::max(t, now_ns() / every_ns * every_ns - from % every_ns);
	}
	const uint64_t nr = turns - before;

	kill(vm, SIGKILL);
	waitpid(vm, nullptr, 0);
	if (!lock.dir.empty())
		rmdir((lock.dir + "/vm").c_str());
	if (waits.empty())
		die("the host never had its turn");
	std::sort(waits.begin(), waits.end());
	fmt::print("waits {}\nwait_p50_ns {}\nwait_p99_ns {}\nwait_max_ns {}\nturns {}\npreempted {}\n", waits.size(), waits[waits.size() / 2],
		   waits[waits.size() * 99 / 100], waits.back(), nr, preempted);
	return 0;
}

} // namespace spare_contend
