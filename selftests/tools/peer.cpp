// SPDX-License-Identifier: GPL-2.0-only
/*
 * spare-peer - the network's end of a VM that provokes packets for itself, and what the VM gains by it (SPARE-6).
 *
 * As SCHED_FIFO it sends each frame that a stand-in emits straight back (--to self), to the other stand-ins (others) or to all, as
 * a switch does with a broadcast; or of its own accord one per --every-us to each. Meanwhile it reads each VM's spare.stat every
 * --sample-us and reports, over the time between the first and the last reading:
 *   used_ns, boost_ns   what the class charged to its own budget and to providers
 *   cpu_ns              the kernel's own account, cpu.stat's usage_usec
 *   gain_ppm            (cpu_ns - Q/P * time) / time: CPU beyond the reservation, in parts per million of one CPU
 *   windowK.boost_ns    the most borrowed in any stretch of K times --window-us (K = 1, 2, 5, 10)
 */
#include "cli/options.hpp"
#include "server_stat.h"
#include "tap_socket.h"
#include "tools.h"

#include <csignal>

#include <poll.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/timerfd.h>

using namespace tool;

namespace spare_peer {
namespace {

constexpr uint64_t kMs = 1000000;

struct options {
	std::vector<std::string> vms;
	std::string to = "none";
	uint64_t every_us = 0, sample_us = 10000, window_us = 100000, warm_ms = 3000, seconds = 10;
	int fifo = 80;
};

struct sample {
	uint64_t time_ns, used_ns, boost_ns;
};

struct vm {
	std::string name, cgroup;
	uint64_t runtime_us, period_us;
	std::optional<TapSocket> tap;
	Fd stat, cpu;
	std::vector<sample> samples;
	uint64_t cpu_first = 0, cpu_last = 0, sent = 0, received = 0, full = 0;
	uint32_t seq = 0;
};

uint64_t number_in(const Fd &fd, std::string_view key, const std::string &what)
{
	char buf[8192];
	const ssize_t n = pread(fd.get(), buf, sizeof(buf), 0);
	const auto v = n > 0 ? flat_number<uint64_t>(std::string_view(buf, size_t(n)), key) : std::nullopt;

	if (!v)
		die("no {} in {}", key, what);
	return *v;
}

/* NAME=CGROUP,TAP,Q_US,P_US; an empty TAP: only watched */
vm parse_vm(const std::string &s)
{
	const size_t eq = s.find('=');
	std::vector<std::string> f(1);
	vm v;

	for (char c : s.substr(eq + 1))
		if (c == ',')
			f.emplace_back();
		else
			f.back() += c;
	errno = 0;
	if (eq == std::string::npos || f.size() != 4)
		die("not NAME=CGROUP,TAP,Q_US,P_US: {}", s);
	v.name = s.substr(0, eq);
	v.cgroup = f[0];
	const auto q = to_number<uint64_t>(f[2]), p = to_number<uint64_t>(f[3]);
	if (!q || !p || !*p)
		die("not a reservation: {}", s);
	v.runtime_us = *q;
	v.period_us = *p;
	if (!f[1].empty())
		v.tap.emplace(f[1], 64, true);
	v.stat = Fd(open((v.cgroup + "/spare.stat").c_str(), O_RDONLY | O_CLOEXEC));
	v.cpu = Fd(open((v.cgroup + "/cpu.stat").c_str(), O_RDONLY | O_CLOEXEC));
	if (!v.stat || !v.cpu)
		die("{}", v.cgroup);
	return v;
}

Fd timer(uint64_t first_ns, uint64_t every_us)
{
	Fd fd(timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK));
	const itimerspec t{{time_t(every_us / 1000000), long(every_us % 1000000 * 1000)},
			   {time_t(first_ns / 1000000000), long(first_ns % 1000000000)}};

	if (!fd || timerfd_settime(fd.get(), TFD_TIMER_ABSTIME, &t, nullptr))
		die("timerfd");
	return fd;
}

bool expired(const Fd &fd)
{
	uint64_t n;

	return read(fd.get(), &n, sizeof(n)) == sizeof(n);
}

class Peer {
public:
	explicit Peer(const options &o) : o_(o)
	{
		for (const std::string &s : o.vms)
			vms_.push_back(parse_vm(s));
		for (vm &v : vms_)
			v.samples.reserve(o.seconds * 1000000 / o.sample_us + 2);
		if (mlockall(MCL_CURRENT | MCL_FUTURE))
			die("mlockall");
		const sched_param sp{o_.fifo};
		if (o_.fifo && sched_setscheduler(0, SCHED_FIFO, &sp))
			die("SCHED_FIFO");
	}

	int run()
	{
		const uint64_t begin = now_ns(), warm = begin + o_.warm_ms * kMs, end = warm + o_.seconds * 1000 * kMs;
		const Fd sampler = timer(warm, o_.sample_us);
		Fd stream;
		std::vector<pollfd> fds{{sampler.get(), POLLIN, 0}};

		if (o_.every_us) {
			stream = timer(begin + kMs, o_.every_us);
			fds.push_back({stream.get(), POLLIN, 0});
		}
		for (const vm &v : vms_)
			if (v.tap)
				fds.push_back({v.tap->fd(), POLLIN, 0});
		for (bool over = false; !over;) {
			if (poll(fds.data(), fds.size(), -1) < 0 && errno != EINTR)
				die("poll");
			if (stream && expired(stream))
				for (vm &v : vms_)
					send(v);
			forward();
			if (expired(sampler)) {
				over = int64_t(now_ns() - end) >= 0;
				take_samples(over);
			}
		}
		for (const vm &v : vms_)
			report(v);
		return 0;
	}

private:
	void send(vm &v)
	{
		bool full;

		if (!v.tap)
			return;
		v.tap->send(v.seq, &full);
		v.seq = (v.seq + 1) % standin::kPacketsMax;
		v.sent += !full;
		v.full += full;
	}

	void forward()
	{
		for (vm &from : vms_)
			while (from.tap && from.tap->receive()) {
				from.received++;
				for (vm &v : vms_)
					if (o_.to == "all" || (o_.to == "self" && &v == &from) || (o_.to == "others" && &v != &from))
						send(v);
			}
	}

	void take_samples(bool last)
	{
		for (vm &v : vms_) {
			if (v.samples.empty())
				v.cpu_first = number_in(v.cpu, "usage_usec", "cpu.stat") * 1000;
			v.samples.push_back({now_ns(), number_in(v.stat, "used_ns", "spare.stat"), number_in(v.stat, "boost_ns", "spare.stat")});
			if (last)
				v.cpu_last = number_in(v.cpu, "usage_usec", "cpu.stat") * 1000;
		}
	}

	/* The most borrowed between two samples at most span apart. */
	static uint64_t most_in(const std::vector<sample> &s, uint64_t span_ns)
	{
		uint64_t most = 0;

		for (size_t i = 0, k = 0; k < s.size(); k++) {
			while (s[k].time_ns - s[i].time_ns > span_ns)
				i++;
			most = std::max(most, s[k].boost_ns - s[i].boost_ns);
		}
		return most;
	}

	void report(const vm &v) const
	{
		const sample &a = v.samples.front(), &b = v.samples.back();
		const int64_t time = int64_t(b.time_ns - a.time_ns), cpu = int64_t(v.cpu_last - v.cpu_first);
		const int64_t due = int64_t(__int128(time) * v.runtime_us / v.period_us);
		const auto print = [&](std::string_view key, int64_t value) { fmt::print("{}.{} {}\n", v.name, key, value); };

		print("time_ns", time);
		print("used_ns", int64_t(b.used_ns - a.used_ns));
		print("boost_ns", int64_t(b.boost_ns - a.boost_ns));
		print("boost_before_ns", int64_t(a.boost_ns));
		print("cpu_ns", cpu);
		print("gain_ppm", int64_t(__int128(cpu - due) * 1000000 / time));
		print("class.gain_ppm", int64_t(__int128(int64_t(b.used_ns - a.used_ns + b.boost_ns - a.boost_ns) - due) * 1000000 / time));
		for (const uint64_t k : {1, 2, 5, 10})
			fmt::print("{}.window{}.boost_ns {}\n", v.name, k, most_in(v.samples, k * o_.window_us * 1000));
		print("sent", int64_t(v.sent));
		print("received", int64_t(v.received));
		print("full", int64_t(v.full));
	}

	options o_;
	std::vector<vm> vms_;
};

} // namespace

int run(int argc, char **argv)
{
	cli::App app("sends stand-ins what they emit, or packets of its own, and says what CPU they gain by it");
	options o;

	app.add_option("--vm", o.vms, "NAME=CGROUP,TAP,Q_US,P_US")->required();
	app.add_option("--to", o.to, "who gets a frame that a stand-in emits: none, self, others, all")
		->check(cli::IsMember({"none", "self", "others", "all"}))
		->capture_default_str();
	app.add_option("--every-us", o.every_us, "a packet to each so often; 0: none")->capture_default_str();
	app.add_option("--sample-us", o.sample_us, "distance of readings")->capture_default_str();
	app.add_option("--window-us", o.window_us, "the policy's window_us")->capture_default_str();
	app.add_option("--warm-ms", o.warm_ms, "before the first reading")->capture_default_str();
	app.add_option("--seconds", o.seconds, "between the first and the last")->capture_default_str()->check(cli::Range(1, 3600));
	app.add_option("--fifo", o.fifo, "SCHED_FIFO priority; 0: leave the class")->capture_default_str();
	if (const auto status = app.parse(argc, argv))
		return *status;
	errno = 0;
	return Peer(o).run();
}

} // namespace spare_peer
