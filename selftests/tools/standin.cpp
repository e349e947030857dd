// SPDX-License-Identifier: GPL-2.0-only
/*
 * spare-standin - stands in for a virtual machine where none can run (the deterministic host, DESIGN section 5).
 *
 * One process, in the cgroup that it is given:
 *   main thread         `spare-standin`, sleeps until the end, as QEMU's main loop mostly does
 *   "vhost" threads     `vhost-<pid>`, one for each queue of the tap: sleeps in poll(); reads each packet, stamps it, puts it into
 *                       the ring of a vCPU and rings its bell (irqfd); the first sends replies when the vCPU rings back (ioeventfd)
 *   "emulator" thread   `spare-standin`: likewise for a tap without vhost, as QEMU's main loop does
 *   "vCPU" threads      `CPU n/KVM`: burn CPU for ever, looking at the clock and at their ring in each loop, as a guest
 *                       sees an injected interrupt; or, with --idle, sleep until the bell rings, as a halted guest
 *
 * So a packet is served when the vhost thread *and then* a vCPU thread have run after it (first service, SPARE-4); both leave
 * a stamp of CLOCK_MONOTONIC in shared memory, and spare-pktgen joins them with its own. Each vCPU keeps the longest jump of the
 * clock that it saw, time in which it did not run; the first one writes down every jump.
 *
 * Further threads, when asked for: `IO waker` runs and sleeps in turns for ever, as a busy iothread.
 */
#include "cli/options.hpp"
#include "standin_shm.h"
#include "tool_util.h"
#include "tools.h"

#include <algorithm>
#include <bit>
#include <climits>
#include <csignal>
#include <mutex>
#include <thread>
#include <vector>

#include <arpa/inet.h>
#include <linux/futex.h>
#include <linux/if_ether.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/socket.h>

using namespace tool;

namespace spare_standin {
namespace {

struct options {
	std::string tap, emulated_tap, cgroup, shm_path = "/dev/shm/spare-standin";
	unsigned vcpus = 1, queues = 1;
	unsigned wakers = 0;
	uint64_t work_us = 0, gap_us = 100, seconds = 0, provoke_us = 0, wake_run_us = 500, wake_sleep_us = 100;
	bool idle = false, rest = false, reply = false, hold = false, release = false, report = false;
};

/* Packets on their way from the vhost thread to one vCPU; one producer, one consumer. */
class Ring {
public:
	bool push(uint32_t seq)
	{
		const uint32_t h = head_.load(std::memory_order_relaxed);

		if (h - tail_.load(std::memory_order_acquire) == slot_.size())
			return false;
		slot_[h % slot_.size()] = seq;
		head_.store(h + 1, std::memory_order_release);
		return true;
	}
	std::optional<uint32_t> pop()
	{
		const uint32_t t = tail_.load(std::memory_order_relaxed);

		if (t == head_.load(std::memory_order_acquire))
			return std::nullopt;
		const uint32_t seq = slot_[t % slot_.size()];
		tail_.store(t + 1, std::memory_order_release);
		return seq;
	}

private:
	std::array<uint32_t, 1024> slot_{};
	std::atomic<uint32_t> head_{0}, tail_{0};
};

/* A queue of a tap, and who serves it. */
struct queue {
	std::string name;
	bool vhost;
	Fd fd;
};

struct vcpu {
	Ring in, out;		    /* to the guest; replies from it */
	Fd bell;		    /* rung for an idle guest */
};

void print_report(const standin::shm &shm)
{
	const uint64_t n = shm.gaps.load(), now = now_ns();
	uint64_t sum = 0, least = UINT64_MAX, most = 0, gap_max = 0;
	std::array<uint64_t, 32> hist{};
	unsigned ran = 0, worst = 0;

	for (uint64_t i = n > standin::kGapsMax ? n - standin::kGapsMax : 0; i < n; i++) {
		const standin::gap_record &g = shm.gap[i % standin::kGapsMax];

		hist[std::min<size_t>(std::bit_width((g.to_ns - g.from_ns) / 64000), hist.size() - 1)]++;
		sum += g.to_ns - g.from_ns;
	}
	fmt::print("loops {}\ngaps {}\ngap.sum_ns {}\n", shm.loops.load(), n, sum);
	for (size_t i = 0; i < hist.size(); i++)
		if (hist[i])
			fmt::print("gap.lt_{}us {}\n", 64ull << i, hist[i]);
	for (unsigned i = 0; i < shm.vcpus; i++) {
		const standin::vcpu_record &v = shm.vcpu[i];
		const uint64_t last = v.last_ns.load();

		ran += v.loops.load() != 0;
		least = std::min(least, v.loops.load());
		most = std::max(most, v.loops.load());
		const uint64_t gap = std::max(v.gap_max_ns.load(), last && last < now ? now - last : 0);
		if (gap > gap_max) {
			gap_max = gap;
			worst = i;
		}
	}
	fmt::print("vcpus {}\nvcpus.ran {}\nvcpus.loops_least {}\nvcpus.loops_most {}\nvcpus.gap_max_ns {}\nvcpus.gap_max_of {}\n", shm.vcpus, ran, least,
		   most, gap_max, worst);
	fmt::print("provoked {}\nforeign {}\nduplicates {}\n", shm.provoked.load(), shm.foreign.load(), shm.duplicates.load());
}

/* Lets all threads of a stand-in begin. */
void release(standin::shm &shm)
{
	shm.go_ns.store(now_ns());
	shm.go.store(1);
	syscall(SYS_futex, &shm.go, FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0);
}

class Standin {
public:
	explicit Standin(const options &o) : o_(o), vcpu_(o.vcpus) {}

	void run()
	{
		sigset_t set;

		sigemptyset(&set);
		sigaddset(&set, SIGTERM);
		sigaddset(&set, SIGINT);
		pthread_sigmask(SIG_BLOCK, &set, nullptr);

		if (!o_.hold)
			enter_cgroup();
		map_shm();
		for (unsigned i = 0; !o_.tap.empty() && i < o_.queues; i++)
			queue_.push_back({o_.tap, true, open_tap(o_.tap, o_.queues > 1)});
		if (!o_.emulated_tap.empty())
			queue_.push_back({o_.emulated_tap, false, open_tap(o_.emulated_tap, false)});
		if (mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT))
			die("mlockall");

		std::vector<std::thread> threads;
		for (unsigned i = 0; i < queue_.size(); i++)
			threads.emplace_back([this, i] { network_main(i); });
		for (unsigned i = 0; i < o_.vcpus; i++)
			threads.emplace_back([this, i] { vcpu_main(i); });
		for (unsigned i = 0; i < o_.wakers; i++)
			threads.emplace_back([this] { waker_main(); });
		while (up_.load() != threads.size())
			sleep_for(100000);
		if (o_.hold)
			enter_cgroup();
		shm_->ready.store(1);
		if (!o_.hold)
			release(*shm_);

		if (o_.seconds) {
			const timespec limit{time_t(o_.seconds), 0};

			sigtimedwait(&set, nullptr, &limit);
		} else {
			int sig;

			sigwait(&set, &sig);
		}
		stop_.store(true);
		if (!shm_->go.load())
			release(*shm_);
		ring(kick_.get());
		ring(end_.get());
		for (vcpu &v : vcpu_)
			if (v.bell)
				ring(v.bell.get());
		for (std::thread &t : threads)
			t.join();
		print_report(*shm_);
	}

private:
	static void ring(int fd)
	{
		const uint64_t one = 1;

		if (write(fd, &one, sizeof(one)) != sizeof(one))
			die("eventfd");
	}

	/* Whatever lets go need not run in the VM: one call wakes them all. */
	void wait_for_go()
	{
		while (!shm_->go.load())
			syscall(SYS_futex, &shm_->go, FUTEX_WAIT, 0, nullptr, nullptr, 0);
	}

	void enter_cgroup() const
	{
		if (!o_.cgroup.empty() && !write_file(o_.cgroup + "/cgroup.procs", "0"))
			die("cannot enter {}", o_.cgroup);
	}

	void map_shm()
	{
		const Fd fd(open(o_.shm_path.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));

		if (!fd || ftruncate(fd.get(), sizeof(standin::shm)))
			die("{}", o_.shm_path);
		void *p = mmap(nullptr, sizeof(standin::shm), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd.get(), 0);
		if (p == MAP_FAILED)
			die("mmap {}", o_.shm_path);
		shm_ = static_cast<standin::shm *>(p);
		shm_->version = standin::kVersion;
		shm_->pid = uint32_t(getpid());
		shm_->vcpus = o_.vcpus;
		shm_->magic = standin::kMagic;
	}

	static Fd open_tap(const std::string &name, bool multi_queue)
	{
		ifreq ifr{};
		/* A macvtap is there before, and has a device of its own. */
		const std::string own = fmt::format("/dev/tap{}", if_nametoindex(name.c_str()));
		const std::string path = access(own.c_str(), F_OK) ? "/dev/net/tun" : own;
		Fd tap(open(path.c_str(), O_RDWR | O_NONBLOCK | O_CLOEXEC));

		if (!tap)
			die("{}", path);
		if (name.size() >= IFNAMSIZ)
			die("tap name too long: {}", name);
		name.copy(ifr.ifr_name, IFNAMSIZ - 1);
		ifr.ifr_flags = short(IFF_TAP | IFF_NO_PI | (multi_queue ? IFF_MULTI_QUEUE : 0));
		if (ioctl(tap.get(), TUNSETIFF, &ifr))
			die("TUNSETIFF {}", name);

		/* No neighbour discovery: only test packets shall travel here. Absent without IPv6. */
		if (!write_file("/proc/sys/net/ipv6/conf/" + name + "/disable_ipv6", "1") && errno != ENOENT)
			die("disable_ipv6 of {}", name);

		const Fd sock(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
		if (!sock || ioctl(sock.get(), SIOCGIFFLAGS, &ifr))
			die("SIOCGIFFLAGS {}", name);
		ifr.ifr_flags |= IFF_UP;
		if (ioctl(sock.get(), SIOCSIFFLAGS, &ifr))
			die("SIOCSIFFLAGS {}", name);
		return tap;
	}

	/* Queue i. The first one's thread also sends; the others listen to the bell to hear of the end. */
	void network_main(unsigned i)
	{
		const std::string comm = fmt::format("vhost-{}", getpid());
		pollfd fds[2] = {{queue_[i].fd.get(), POLLIN, 0}, {i ? end_.get() : kick_.get(), POLLIN, 0}};

		if (queue_[i].vhost)
			prctl(PR_SET_NAME, comm.c_str());
		up_.fetch_add(1);
		while (!stop_.load(std::memory_order_relaxed)) {
			if (poll(fds, 2, -1) < 0 && errno != EINTR)
				die("poll");
			if (fds[0].revents)
				receive(queue_[i]);
			if (fds[1].revents && !i)
				reply();
		}
	}

	/* Tap to guest. (Rings have one producer: a packet of another queue waits for its turn.) */
	void receive(const queue &q)
	{
		char frame[ETH_FRAME_LEN + 64];
		ssize_t n;

		while ((n = read(q.fd.get(), frame, sizeof(frame))) > 0) {
			const uint64_t t = now_ns();
			standin::payload p;
			ethhdr eth;

			std::memcpy(&eth, frame, sizeof(eth));
			std::memcpy(&p, frame + sizeof(eth), sizeof(p));
			if (size_t(n) < sizeof(eth) + sizeof(p) || ntohs(eth.h_proto) != standin::kEtherType ||
			    p.magic != standin::kMagic || p.seq >= standin::kPacketsMax) {
				shm_->foreign.fetch_add(1, std::memory_order_relaxed);
				continue;
			}
			if (shm_->packet[p.seq].picked_ns.exchange(t))
				shm_->duplicates.fetch_add(1, std::memory_order_relaxed);
			vcpu &v = vcpu_[p.seq % o_.vcpus];
			const std::lock_guard one(producing_);
			if (!v.in.push(p.seq))
				continue; /* the guest's queue is full: lost, and seen as such by the generator */
			if (o_.idle)
				ring(v.bell.get());
		}
		if (n < 0 && errno != EAGAIN && errno != EINTR)
			die("read {}", q.name);
	}

	/* Guest to tap. */
	void reply()
	{
		uint64_t n;

		if (read(kick_.get(), &n, sizeof(n)) != sizeof(n))
			return;
		for (vcpu &v : vcpu_)
			while (const auto seq = v.out.pop()) {
				struct {
					ethhdr eth;
					standin::payload p;
					char pad[32];
				} __attribute__((packed)) f{};

				f.eth.h_proto = htons(standin::kEtherType);
				std::memset(f.eth.h_dest, 0xff, ETH_ALEN);
				f.eth.h_source[0] = 2;
				f.p = {standin::kMagic, *seq, now_ns()};
				if (write(queue_.front().fd.get(), &f, sizeof(f)) == sizeof(f))
					shm_->packet[*seq].replied_ns.store(f.p.sent_ns);
			}
	}

	/* One vCPU's view of the clock: jumps are time in which it did not run. */
	struct pulse {
		uint64_t prev, loops, booked;
		bool logs;
		standin::vcpu_record &rec;
	};

	/* Looks at the clock; the time since the last look if the thread ran all along, else 0. */
	uint64_t beat(pulse &p)
	{
		o_.rest ? rest() : spend();
		const uint64_t t = now_ns(), d = t - std::exchange(p.prev, t);

		p.loops++;
		p.rec.last_ns.store(t, std::memory_order_relaxed);
		if (o_.idle || d <= o_.gap_us * 1000)
			return d;
		if (p.logs)
			note_gap(t - d, t);
		if (d > p.rec.gap_max_ns.load(std::memory_order_relaxed))
			p.rec.gap_max_ns.store(d, std::memory_order_relaxed);
		p.rec.loops.store(p.loops, std::memory_order_relaxed);
		shm_->loops.fetch_add(p.loops - std::exchange(p.booked, p.loops), std::memory_order_relaxed);
		return 0;
	}

	void vcpu_main(unsigned i)
	{
		const std::string comm = fmt::format("CPU {}/KVM", i);
		vcpu &v = vcpu_[i];

		prctl(PR_SET_NAME, comm.c_str());
		if (o_.idle)
			v.bell = Fd(eventfd(0, EFD_CLOEXEC));
		up_.fetch_add(1);
		wait_for_go();
		uint64_t provoked_ns = now_ns();
		pulse p{shm_->go_ns.load(), 0, 0, i == 0, shm_->vcpu[i]};
		p.rec.last_ns.store(p.prev);
		p.rec.loops.store(1);
		while (!stop_.load(std::memory_order_relaxed)) {
			uint64_t n;

			if (o_.idle && read(v.bell.get(), &n, sizeof(n)) != sizeof(n))
				die("eventfd");
			beat(p);
			if (o_.provoke_us && p.prev - provoked_ns >= o_.provoke_us * 1000) {
				provoked_ns = p.prev;
				provoke(v);
			}
			while (const auto seq = v.in.pop()) {
				shm_->packet[*seq].seen_ns.store(now_ns());
				/* What the guest computes for a packet. */
				for (uint64_t worked = 0; worked < o_.work_us * 1000;)
					worked += beat(p);
				if (o_.reply && v.out.push(*seq))
					ring(kick_.get());
			}
		}
		shm_->loops.fetch_add(p.loops - p.booked, std::memory_order_relaxed);
		p.rec.loops.store(p.loops);
	}

	/* The guest sends a packet of its own accord. */
	void provoke(vcpu &v)
	{
		const uint64_t n = shm_->provoked.fetch_add(1, std::memory_order_relaxed);

		if (v.out.push(uint32_t(n % standin::kPacketsMax)))
			ring(kick_.get());
	}

	void waker_main()
	{
		prctl(PR_SET_NAME, "IO waker");
		up_.fetch_add(1);
		wait_for_go();
		while (!stop_.load(std::memory_order_relaxed)) {
			uint64_t ran = 0, prev = now_ns();

			/* CPU time of its own: a jump of the clock is none */
			while (ran < o_.wake_run_us * 1000) {
				spend();
				const uint64_t t = now_ns(), d = t - std::exchange(prev, t);

				ran += d <= o_.gap_us * 1000 ? d : 0;
			}
			sleep_for(o_.wake_sleep_us * 1000);
		}
	}

	void note_gap(uint64_t from, uint64_t to)
	{
		const uint64_t n = shm_->gaps.load(std::memory_order_relaxed);

		shm_->gap[n % standin::kGapsMax] = {from, to};
		shm_->gaps.store(n + 1, std::memory_order_release);
	}

	options o_;
	standin::shm *shm_ = nullptr;
	std::vector<queue> queue_;
	std::mutex producing_;
	Fd kick_{eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)}, end_{eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
	std::vector<vcpu> vcpu_;
	std::atomic<unsigned> up_{0};
	std::atomic<bool> stop_{false};
};

/* The stand-in behind a file. */
standin::shm &other(const std::string &path)
{
	const Fd fd(open(path.c_str(), O_RDWR | O_CLOEXEC));
	void *p = fd ? mmap(nullptr, sizeof(standin::shm), PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0) : MAP_FAILED;

	if (p == MAP_FAILED)
		die("{}", path);
	return *static_cast<standin::shm *>(p);
}

} // namespace

int run(int argc, char **argv)
{
	cli::App app("stands in for a virtual machine: holds a tap, burns CPU, serves packets like vhost and a guest");
	options o;

	app.add_option("--tap", o.tap, "tap to create and serve, or macvtap that is there; none: only burn");
	app.add_option("--queues", o.queues, "of --tap, each with a thread")->check(cli::Range(1u, 16u))->capture_default_str();
	app.add_option("--emulated-tap", o.emulated_tap, "tap to create and serve without vhost");
	app.add_option("--cgroup", o.cgroup, "directory of the cgroup to enter first");
	app.add_option("--shm", o.shm_path, "file to publish stamps in")->capture_default_str();
	app.add_option("--vcpus", o.vcpus, "vCPU threads; packet n goes to vCPU n modulo this")
		->check(cli::Range(1u, standin::kVcpusMax))
		->capture_default_str();
	auto *idle = app.add_flag("--idle", o.idle, "vCPUs sleep until a packet comes instead of burning");
	auto *rest = app.add_flag("--rest", o.rest, "vCPUs burn as rest() does; what they say of gaps and loops means nothing then")->excludes(idle);
	app.add_option("--work-us", o.work_us, "CPU time that a vCPU spends on each packet")->excludes(rest)->capture_default_str();
	app.add_flag("--reply", o.reply, "answer each packet");
	app.add_option("--provoke-us", o.provoke_us, "each vCPU sends a packet after so much time; 0: none")->excludes(rest)->capture_default_str();
	app.add_option("--wakers", o.wakers, "threads that run and sleep in turns")->capture_default_str();
	app.add_option("--wake-run-us", o.wake_run_us, "CPU time that they run")->capture_default_str();
	app.add_option("--wake-sleep-us", o.wake_sleep_us, "and sleep")->capture_default_str();
	app.add_flag("--hold", o.hold, "start all threads before entering the cgroup, and let them go at --release");
	app.add_flag("--release", o.release, "only let go the stand-in of --shm, which --hold holds");
	app.add_flag("--report", o.report, "only print what the stand-in of --shm has published so far");
	app.add_option("--gap-us", o.gap_us, "jump of the clock that counts as a gap")->capture_default_str();
	app.add_option("--seconds", o.seconds, "end after this time; 0: at SIGTERM or SIGINT")->capture_default_str();
	if (const auto status = app.parse(argc, argv))
		return *status;
	errno = 0;
	if (o.release) {
		release(other(o.shm_path));
		return 0;
	}
	if (o.report) {
		print_report(other(o.shm_path));
		return 0;
	}
	Standin(o).run();
	return 0;
}

} // namespace spare_standin
