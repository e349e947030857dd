// SPDX-License-Identifier: GPL-2.0-only
/*
 * spare-burst - packets to several exhausted VMs that share a pool, in a given order, and how each was served (SPARE-5).
 *
 * A round begins when every target's server is THROTTLED, its replenishment at least --quiet-ms away, and every provider of
 * the pool free: unclaimed and its last deadline passed. Then each target gets one packet, in the order of the options; one
 * with a delay so much later than the first. SCHED_FIFO, so nothing comes between the packets of a round.
 */
#include "cli/options.hpp"
#include "server_stat.h"
#include "shm_map.h"
#include "tap_socket.h"
#include "tools.h"

#include <deque>
#include <map>

#include <sched.h>
#include <sys/mman.h>

using namespace tool;

namespace spare_burst {
namespace {

constexpr uint64_t kMs = 1000000;

struct options {
	std::vector<std::string> targets, providers;
	unsigned rounds = 10, cpu = 0;
	uint64_t quiet_ms = 30, gap_us = 200, settle_ms = 150, limit_s = 60;
	int fifo = 90;
};

/* A stand-in; several targets may be the same one. */
struct vm {
	TapSocket tap;
	standin::shm *shm;
	ServerStat stat;
	uint32_t sent = 0;
};

struct target {
	std::string name;
	vm *to;
	uint64_t delay_ns;
	std::vector<uint32_t> seq; /* one packet per round */
	std::vector<uint64_t> sent_ns;
};

std::vector<std::string> split(const std::string &s)
{
	std::vector<std::string> out(1);

	for (char c : s)
		if (c == ',')
			out.emplace_back();
		else
			out.back() += c;
	return out;
}

class Burst {
public:
	explicit Burst(const options &o) : o_(o), end_ns_(now_ns() + o.limit_s * 1000 * kMs)
	{
		for (const std::string &s : o.targets)
			add(s);
		for (const std::string &p : o.providers)
			providers_.emplace_back(p + "/spare.stat", o.cpu);
		if (mlockall(MCL_CURRENT | MCL_FUTURE))
			die("mlockall");
		const sched_param sp{o_.fifo};
		if (o_.fifo && sched_setscheduler(0, SCHED_FIFO, &sp))
			die("SCHED_FIFO");
	}

	int run()
	{
		for (unsigned r = 0; r < o_.rounds; r++) {
			wait_quiet();
			const uint64_t start = now_ns();
			for (size_t i = 0; i < targets_.size(); i++) {
				target &t = targets_[i];

				sleep_until(start + i * o_.gap_us * 1000 + t.delay_ns);
				t.seq.push_back(t.to->sent);
				t.sent_ns.push_back(t.to->tap.send(t.to->sent++));
			}
			sleep_for(o_.settle_ms * kMs);
		}
		return report();
	}

private:
	/* NAME=TAP,SHM,CGROUP[,DELAY_US] */
	void add(const std::string &s)
	{
		const size_t eq = s.find('=');
		const auto f = split(s.substr(eq + 1));
		errno = 0;
		if (eq == std::string::npos || f.size() < 3)
			die("not NAME=TAP,SHM,CGROUP[,DELAY_US]: {}", s);
		const auto delay = f.size() > 3 ? to_number<uint64_t>(f[3]) : 0;
		if (!delay)
			die("not a delay: {}", f[3]);
		if (!by_tap_.count(f[0])) {
			vms_.push_back({TapSocket(f[0], 64), map_standin(f[1]), ServerStat(f[2] + "/spare.stat", o_.cpu)});
			by_tap_[f[0]] = &vms_.back();
		}
		targets_.push_back({s.substr(0, eq), by_tap_[f[0]], *delay * 1000, {}, {}});
	}

	void wait_quiet()
	{
		for (;;) {
			bool quiet = true;

			errno = 0;
			if (int64_t(now_ns() - end_ns_) > 0)
				die("no quiet moment within {} s", o_.limit_s);
			for (const vm &v : vms_) {
				const server_view s = v.stat.read();

				quiet &= s.throttled && s.q_ns <= 0 && int64_t(s.d_ns - s.read_ns) >= int64_t(o_.quiet_ms * kMs);
			}
			for (const ServerStat &p : providers_) {
				const server_view s = p.read();

				quiet &= !s.claimed && int64_t(s.read_ns - s.d_ns) >= 0;
			}
			if (quiet)
				return;
			sleep_for(kMs);
		}
	}

	int report() const
	{
		unsigned disorder = 0;

		for (unsigned r = 0; r < o_.rounds; r++) {
			uint64_t last = 0;
			bool in_order = true;

			for (const target &t : targets_) {
				const uint64_t picked = t.to->shm->packet[t.seq[r]].picked_ns.load();

				in_order &= picked >= last;
				last = picked;
			}
			disorder += !in_order;
		}
		fmt::print("rounds {}\ndisorder {}\n", o_.rounds, disorder);
		for (const target &t : targets_) {
			unsigned lost = 0;
			uint64_t sum = 0, most = 0, least = UINT64_MAX;

			for (unsigned r = 0; r < o_.rounds; r++) {
				const uint64_t seen = t.to->shm->packet[t.seq[r]].seen_ns.load();

				if (!seen) {
					lost++;
					continue;
				}
				const uint64_t lat = seen - t.sent_ns[r];
				sum += lat;
				most = std::max(most, lat);
				least = std::min(least, lat);
			}
			fmt::print("{0}.lost {1}\n", t.name, lost);
			if (lost < o_.rounds)
				fmt::print("{0}.min_ns {1}\n{0}.mean_ns {2}\n{0}.max_ns {3}\n", t.name, least, sum / (o_.rounds - lost), most);
		}
		return 0;
	}

	options o_;
	uint64_t end_ns_;
	std::deque<vm> vms_;
	std::map<std::string, vm *> by_tap_;
	std::vector<target> targets_;
	std::vector<ServerStat> providers_;
};

} // namespace

int run(int argc, char **argv)
{
	cli::App app("packets to several exhausted stand-ins that share a pool");
	options o;

	app.add_option("--target", o.targets, "NAME=TAP,SHM,CGROUP[,DELAY_US]; in the order of sending")->required();
	app.add_option("--provider", o.providers, "cgroup of a provider that must be free when a round begins");
	app.add_option("--rounds", o.rounds, "how often")->capture_default_str()->check(cli::Range(1, 1000));
	app.add_option("--quiet-ms", o.quiet_ms, "least time to the next replenishment of a target")->capture_default_str();
	app.add_option("--gap-us", o.gap_us, "distance of the packets of a round")->capture_default_str();
	app.add_option("--settle-ms", o.settle_ms, "time for the last packets of a round")->capture_default_str();
	app.add_option("--limit-s", o.limit_s, "give up after this time")->capture_default_str();
	app.add_option("--cpu", o.cpu, "CPU of the servers")->capture_default_str();
	app.add_option("--fifo", o.fifo, "SCHED_FIFO priority; 0: leave the class")->capture_default_str();
	if (const auto status = app.parse(argc, argv))
		return *status;
	errno = 0;
	return Burst(o).run();
}

} // namespace spare_burst
