// SPDX-License-Identifier: GPL-2.0-only
/*
 * spare-pktgen - sends numbered packets to a spare-standin's tap and says how long each waited for its first service.
 *
 * While it sends it runs as SCHED_FIFO with its memory locked, so that nothing that is measured can delay it, and sends through an AF_PACKET
 * socket, i.e. dev_queue_xmit(): the way of a bridge, past the module's hook. What it waits for are absolute times of
 * CLOCK_MONOTONIC; what is random comes from a fixed seed.
 *
 * (--tap may be any interface from which packets find their way to the stand-in's tap.)
 *
 * Packets are sent at random phases and aimed at the instants where wake-ups are lost:
 *   exhaust    around the moment when the budget ends: now + q, from spare.stat, while the server runs
 *   replenish  around the deadline of the throttled server
 *   attach     first one to the throttled server, then a second while the class attaches the provider and runs in it
 *
 * What each packet found is read from spare.stat, for an aimed packet right after it (reading takes time), else right before.
 * Both are exact: while the generator runs, the class does not. It found its server
 *   own   not throttled: it is served from the VM's own budget
 *   free  throttled, and the provider unclaimed with its last deadline passed: the bound Ps - Qs of SPARE-3 holds
 *         (free.due: how many of these come so shortly before the replenishment, --due-us, that this may serve them in place of a grant)
 *   busy  throttled, and the provider not free (or there is none)
 * Without --stat the stand-in's own gaps say it: a packet sent inside a gap of at least --gap-ms found it throttled (busy).
 *
 * --flood measures the sender's path instead: the time of each send(), whose median is a path length under icount.
 * --rate sends so many packets a second, each at its own instant by a hard timer, and says what rate came about and what it cost.
 */
#include "cli/options.hpp"
#include "server_stat.h"
#include "shm_map.h"
#include "tap_socket.h"
#include "tools.h"

#include <cmath>
#include <random>

#include <sched.h>
#include <sys/mman.h>

using namespace tool;

namespace spare_pktgen {
namespace {

constexpr uint64_t kUs = 1000, kMs = 1000000;

struct options {
	std::string tap, shm_path = "/dev/shm/spare-standin", stat, provider, csv;
	unsigned cpu = 0, random = 0, exhaust = 0, replenish = 0, attach = 0, flood = 0, rounds = 5, size = 64, rate = 0, burst = 1;
	uint64_t min_us = 25000, max_us = 50000, poisson_us = 0, align_us = 0, aim_us = 200, bound_us = 0, due_us = 1000, gap_ms = 1, settle_ms = 500,
		 limit_s = 900, seconds = 10;
	uint64_t seed = 42;
	int fifo = 90;
	bool bypass = false;
};

enum class aim { random, exhaust, replenish, attach, flood };
enum class found { own, free, busy };

constexpr const char *name(aim a)
{
	switch (a) {
	case aim::random: return "random";
	case aim::exhaust: return "exhaust";
	case aim::replenish: return "replenish";
	case aim::attach: return "attach";
	case aim::flood: return "flood";
	}
	return "?";
}

constexpr const char *name(found f)
{
	switch (f) {
	case found::own: return "own";
	case found::free: return "free";
	case found::busy: return "busy";
	}
	return "?";
}

struct shot {
	aim why;
	found what;
	bool due; /* the server's deadline is at most --due-us away */
	int64_t offset_ns; /* from the instant that it was aimed at */
	uint64_t sent_ns, picked_ns, seen_ns;
};

/* Pass fractions in per mille, samples sorted. */
uint64_t percentile(const std::vector<uint64_t> &v, unsigned per_mille)
{
	return v.empty() ? 0 : v[std::min(v.size() - 1, v.size() * per_mille / 1000)];
}

class Generator {
public:
	explicit Generator(const options &o) : o_(o), rng_(o.seed)
	{
		shm_ = map_standin(o.shm_path);
		sock_ = TapSocket(o.tap, o.size, false, o.bypass);
		if (!o_.stat.empty())
			vm_ = ServerStat(o_.stat, o_.cpu);
		if (!o_.provider.empty())
			provider_ = ServerStat(o_.provider, o_.cpu);
		if (!vm_ && (o_.exhaust || o_.replenish || o_.attach))
			die("aimed packets need --stat");
		shots_.reserve(standin::kPacketsMax);
		if (mlockall(MCL_CURRENT | MCL_FUTURE))
			die("mlockall");
		const sched_param sp{o_.fifo};
		if (o_.fifo && sched_setscheduler(0, SCHED_FIFO, &sp))
			die("SCHED_FIFO");
		end_ns_ = now_ns() + o_.limit_s * 1000 * kMs;
		cpu_from_ns_ = cpu_ns();
	}

	int run()
	{
		if (o_.rate)
			return stream(sock_, o_.rate, o_.seconds, o_.burst);
		if (o_.flood)
			return flood();
		for (unsigned i = 0; i < o_.random; i++) {
			pause();
			fire(aim::random, 0);
		}
		for (unsigned i = 0; i < o_.exhaust; i++)
			aim_exhaust(sweep(i, o_.exhaust));
		for (unsigned i = 0; i < o_.replenish; i++)
			aim_replenish(sweep(i, o_.replenish));
		for (unsigned i = 0; i < o_.attach; i += 2)
			aim_attach(i);
		sleep_for(o_.settle_ms * kMs);
		/* What follows disturbs nobody. */
		const sched_param normal{0};
		if (o_.fifo && sched_setscheduler(0, SCHED_OTHER, &normal))
			die("SCHED_OTHER");
		return report();
	}

private:
	/* CPU that this process has used. */
	static uint64_t cpu_ns()
	{
		timespec t{};

		clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
		return uint64_t(t.tv_sec) * 1000 * kMs + uint64_t(t.tv_nsec);
	}

	uint64_t uniform(uint64_t lo, uint64_t hi)
	{
		/* Not std::uniform_int_distribution: its values depend on the library. */
		return lo + rng_() % (hi - lo + 1);
	}

	void check_limit() const
	{
		errno = 0;
		if (int64_t(now_ns() - end_ns_) > 0)
			die("not done within {} s: {} packets sent", o_.limit_s, shots_.size());
	}

	/*
	 * To a random phase, after everything of the last packet is over; or, whatever became of the last one, to the next point of a
	 * Poisson process, or to the next multiple of --align-us.
	 */
	void pause()
	{
		check_limit();
		if (o_.poisson_us) {
			/* Not std::exponential_distribution either. */
			const double u = double((rng_() >> 11) + 1) * 0x1p-53;

			next_ns_ = (next_ns_ ? next_ns_ : now_ns()) + uint64_t(-double(o_.poisson_us * kUs) * std::log(u));
			sleep_until(next_ns_);
		} else if (o_.align_us) {
			sleep_until((now_ns() / (o_.align_us * kUs) + 1) * (o_.align_us * kUs));
		} else {
			sleep_for(uniform(o_.min_us * kUs, o_.max_us * kUs));
		}
	}

	/* Offsets evenly over [-aim, aim], in an order that mixes them. */
	int64_t sweep(unsigned i, unsigned n) const
	{
		const uint64_t span = 2 * o_.aim_us * kUs;

		return int64_t(span * ((uint64_t(i) * 7919) % n) / n) - int64_t(o_.aim_us * kUs);
	}

	/* Sleeps at least so long that a class that is late, or stuck, can run: a SCHED_FIFO task must not poll. */
	static void nap_until(uint64_t t_ns)
	{
		sleep_until(std::max(t_ns, now_ns() + 300 * kUs));
	}

	static bool is_free(const server_view &p)
	{
		return !p.claimed && int64_t(p.read_ns - p.d_ns) >= 0;
	}

	/* Waits until the provider is free, and a little longer. */
	void wait_free()
	{
		while (provider_) {
			const server_view p = provider_.read();

			if (is_free(p))
				return;
			check_limit();
			nap_until(p.claimed ? p.read_ns + kMs : p.d_ns + 50 * kUs);
		}
	}

	/* One packet now. */
	void fire(aim why, int64_t offset_ns)
	{
		server_view v;
		bool free = false;

		if (vm_)
			v = vm_.read();
		if (provider_)
			free = is_free(provider_.read());
		shoot(why, offset_ns);
		note(v, free);
	}

	/* One packet at this very instant; provider_free is known from before. */
	void fire_sharp(aim why, int64_t offset_ns, bool provider_free)
	{
		shoot(why, offset_ns);
		note(vm_.read(), provider_free);
	}

	/* What the last packet found. */
	void note(const server_view &v, bool provider_free)
	{
		shot &s = shots_.back();

		s.what = !v.throttled ? found::own : provider_free ? found::free : found::busy;
		s.due = int64_t(v.d_ns - v.read_ns) < int64_t(o_.due_us * kUs);
	}

	void shoot(aim why, int64_t offset_ns)
	{
		if (shots_.size() == standin::kPacketsMax)
			die("more than {} packets", standin::kPacketsMax);
		shots_.push_back({why, found::own, false, offset_ns, sock_.send(uint32_t(shots_.size())), 0, 0});
	}

	/* Around the end of the budget. */
	void aim_exhaust(int64_t offset)
	{
		pause();
		for (;;) {
			wait_free();
			const server_view v = vm_.read();

			check_limit();
			if (v.throttled) { /* into the next period */
				nap_until(v.d_ns + kMs);
				continue;
			}
			const uint64_t end = v.read_ns + uint64_t(std::max<int64_t>(v.q_ns, 0));
			if (v.q_ns > int64_t(2 * kMs)) { /* look again nearer to it: others may take turns meanwhile */
				nap_until(end - kMs);
				continue;
			}
			if (v.q_ns < int64_t(o_.aim_us * kUs)) {
				sleep_for(2 * kMs);
				continue;
			}
			sleep_until(uint64_t(int64_t(end) + offset));
			fire_sharp(aim::exhaust, offset, bool(provider_));
			return;
		}
	}

	/* Around the replenishment of the throttled server. */
	void aim_replenish(int64_t offset)
	{
		pause();
		for (;;) {
			wait_free();
			const server_view v = vm_.read();

			check_limit();
			if (!v.throttled || v.d_ns < v.read_ns + o_.aim_us * kUs + 500 * kUs) {
				sleep_for(2 * kMs);
				continue;
			}
			sleep_until(uint64_t(int64_t(v.d_ns) + offset));
			fire_sharp(aim::replenish, offset, bool(provider_));
			return;
		}
	}

	/* A packet to the throttled server and one shortly after it: 0 .. 500 us for most, up to 12 ms for each fourth. */
	void aim_attach(unsigned i)
	{
		pause();
		for (;;) {
			wait_free();
			const server_view v = vm_.read();

			check_limit();
			if (!v.throttled || v.d_ns < v.read_ns + 15 * kMs) {
				sleep_for(2 * kMs);
				continue;
			}
			fire(aim::attach, 0);
			const uint64_t after = i % 8 == 6 ? uniform(0, 12 * kMs) : uniform(0, 500 * kUs);
			sleep_for(after);
			fire_sharp(aim::attach, int64_t(after), false);
			return;
		}
	}

	/* Without spare.stat: a packet that came while the first vCPU did not run for long. */
	void judge_by_gaps()
	{
		const uint64_t n = shm_->gaps.load();

		if (n > standin::kGapsMax)
			die("{} gaps are more than the stand-in keeps", n);
		const standin::gap_record *first = shm_->gap.data(), *end = first + n;
		for (shot &s : shots_) {
			const auto *g = std::lower_bound(first, end, s.sent_ns,
							 [](const standin::gap_record &r, uint64_t t) { return r.to_ns < t; });

			if (g != end && g->from_ns <= s.sent_ns && g->to_ns - g->from_ns >= o_.gap_ms * kMs)
				s.what = found::busy;
		}
	}

	void print_class(std::string_view title, std::vector<uint64_t> lat) const
	{
		std::sort(lat.begin(), lat.end());
		fmt::print("{}.n {}\n", title, lat.size());
		if (lat.empty())
			return;
		uint64_t sum = 0, over = 0;
		for (uint64_t l : lat) {
			sum += l;
			over += o_.bound_us && l > o_.bound_us * kUs;
		}
		fmt::print("{0}.mean_ns {1}\n{0}.p50_ns {2}\n{0}.p90_ns {3}\n{0}.p99_ns {4}\n{0}.max_ns {5}\n", title, sum / lat.size(),
			   percentile(lat, 500), percentile(lat, 900), percentile(lat, 990), lat.back());
		if (o_.bound_us)
			fmt::print("{}.over {}\n", title, over);
		/* Powers of two of 64 us, as in spare.stat. */
		for (size_t i = 0, done = 0; done < lat.size(); i++) {
			const uint64_t edge = (64 * kUs) << i;
			const size_t upto = size_t(std::lower_bound(lat.begin(), lat.end(), edge) - lat.begin());

			if (upto > done)
				fmt::print("{}.lt_{}us {}\n", title, edge / kUs, upto - done);
			done = upto;
		}
	}

	int report()
	{
		const uint64_t cpu = cpu_ns() - cpu_from_ns_;
		unsigned picked = 0, served = 0;

		for (size_t i = 0; i < shots_.size(); i++) {
			shots_[i].picked_ns = shm_->packet[i].picked_ns.load();
			shots_[i].seen_ns = shm_->packet[i].seen_ns.load();
			picked += shots_[i].picked_ns != 0;
			served += shots_[i].seen_ns != 0;
		}
		if (!vm_)
			judge_by_gaps();
		fmt::print("sent {}\npicked {}\nserved {}\nlost {}\nduplicates {}\nforeign {}\n", shots_.size(), picked, served,
			   shots_.size() - served, shm_->duplicates.load(), shm_->foreign.load());
		fmt::print("cpu_per_packet_ns {}\n", shots_.empty() ? 0 : cpu / shots_.size());
		for (const found f : {found::own, found::free, found::busy}) {
			std::vector<uint64_t> first, net;

			for (const shot &s : shots_)
				if (s.what == f && s.seen_ns) {
					first.push_back(s.seen_ns - s.sent_ns);
					net.push_back(s.picked_ns - s.sent_ns);
				}
			print_class(name(f), first);
			if (f == found::free) {
				print_class("free.vhost", net);
				fmt::print("free.due {}\n",
					   std::count_if(shots_.begin(), shots_.end(), [](const shot &s) { return s.what == found::free && s.due; }));
			}
			for (const aim a : {aim::random, aim::exhaust, aim::replenish, aim::attach})
				fmt::print("{}.from_{} {}\n", name(f), name(a),
					   std::count_if(shots_.begin(), shots_.end(), [&](const shot &s) { return s.what == f && s.why == a; }));
		}
		print_worst();
		if (!o_.csv.empty())
			write_csv();
		return 0;
	}

	/* The packets to look at first when something is wrong. */
	void print_worst() const
	{
		for (const found f : {found::own, found::free, found::busy}) {
			std::vector<const shot *> v;

			for (const shot &s : shots_)
				if (s.what == f)
					v.push_back(&s);
			std::sort(v.begin(), v.end(), [](const shot *a, const shot *b) { return wait(*a) > wait(*b); });
			v.resize(std::min<size_t>(v.size(), 3));
			for (const shot *s : v)
				fmt::print("# worst {}: packet {} {} {:+} us sent {} picked +{} us seen {}\n", name(f), s - shots_.data(),
					   name(s->why), s->offset_ns / 1000, s->sent_ns,
					   s->picked_ns ? (s->picked_ns - s->sent_ns) / 1000 : 0,
					   s->seen_ns ? fmt::format("+{} us", (s->seen_ns - s->sent_ns) / 1000) : "never");
		}
	}

	static uint64_t wait(const shot &s) { return s.seen_ns ? s.seen_ns - s.sent_ns : UINT64_MAX; }

	void write_csv() const
	{
		FILE *f = fopen(o_.csv.c_str(), "we");

		if (!f)
			die("{}", o_.csv);
		fmt::print(f, "packet,aim,offset_ns,found,sent_ns,picked_ns,seen_ns\n");
		for (const shot &s : shots_)
			fmt::print(f, "{},{},{},{},{},{},{}\n", &s - shots_.data(), name(s.why), s.offset_ns, name(s.what), s.sent_ns,
				   s.picked_ns, s.seen_ns);
		if (fclose(f))
			die("{}", o_.csv);
	}

	int flood()
	{
		std::vector<uint64_t> t;

		t.reserve(size_t(o_.flood) * o_.rounds);
		for (unsigned r = 0; r < o_.rounds; r++) {
			for (unsigned i = 0; i < o_.flood; i++) {
				const uint64_t from = sock_.send(uint32_t(t.size() % standin::kPacketsMax));

				t.push_back(now_ns() - from);
			}
			sleep_for(100 * kMs); /* the tap's queue empties */
		}
		uint64_t sum = 0;
		for (uint64_t d : t)
			sum += d;
		std::sort(t.begin(), t.end());
		fmt::print("sends {}\nsend.min_ns {}\nsend.p50_ns {}\nsend.p90_ns {}\nsend.mean_ns {}\n", t.size(), t.front(),
			   percentile(t, 500), percentile(t, 900), sum / t.size());
		return 0;
	}

	options o_;
	std::mt19937_64 rng_;
	standin::shm *shm_ = nullptr;
	TapSocket sock_;
	ServerStat vm_, provider_;
	std::vector<shot> shots_;
	uint64_t end_ns_ = 0, next_ns_ = 0, cpu_from_ns_ = 0;
};

} // namespace

int run(int argc, char **argv)
{
	cli::App app("sends numbered packets to a spare-standin and reports how long each waited for its first service");
	options o;

	app.add_option("--tap", o.tap, "the stand-in's tap")->required();
	app.add_option("--shm", o.shm_path, "the stand-in's file of stamps")->capture_default_str();
	app.add_option("--stat", o.stat, "spare.stat of the VM");
	app.add_option("--provider", o.provider, "spare.stat of the provider that it may borrow from");
	app.add_option("--cpu", o.cpu, "CPU of the server")->capture_default_str();
	app.add_option("--random", o.random, "packets at random phases");
	app.add_option("--exhaust", o.exhaust, "packets around the end of the budget");
	app.add_option("--replenish", o.replenish, "packets around the replenishment");
	app.add_option("--attach", o.attach, "packets around the attachment of the provider, in pairs");
	app.add_option("--min-us", o.min_us, "least distance of packets")->capture_default_str();
	app.add_option("--max-us", o.max_us, "greatest distance of packets")->capture_default_str();
	app.add_option("--poisson-us", o.poisson_us, "random packets: mean distance of a Poisson process in place of the above");
	app.add_option("--align-us", o.align_us, "random packets: at multiples of this in place of the above");
	app.add_option("--aim-us", o.aim_us, "how far around its instant an aimed packet may be")->capture_default_str();
	app.add_option("--bound-us", o.bound_us, "count first services later than this");
	app.add_option("--due-us", o.due_us, "count packets (free.due) that come so shortly before the replenishment")->capture_default_str();
	app.add_option("--gap-ms", o.gap_ms, "without --stat: gap that counts as throttled")->capture_default_str();
	app.add_option("--settle-ms", o.settle_ms, "time for the last packets")->capture_default_str();
	app.add_option("--limit-s", o.limit_s, "give up after this time")->capture_default_str();
	app.add_option("--seed", o.seed, "of the random phases")->capture_default_str();
	app.add_option("--fifo", o.fifo, "SCHED_FIFO priority; 0: leave the class")->capture_default_str();
	app.add_option("--size", o.size, "bytes of a frame")->capture_default_str()->check(cli::Range(30, 1514));
	app.add_flag("--bypass", o.bypass, "send past the queueing discipline (PACKET_QDISC_BYPASS)");
	app.add_option("--csv", o.csv, "write every packet here");
	app.add_option("--flood", o.flood, "measure send(): packets per round, below the tap's queue length (500)");
	app.add_option("--rounds", o.rounds, "rounds of --flood")->capture_default_str();
	app.add_option("--rate", o.rate, "send so many packets a second, each at its instant");
	app.add_option("--burst", o.burst, "--rate sends so many at the instant of the first")->capture_default_str()->check(cli::PositiveNumber());
	app.add_option("--seconds", o.seconds, "how long --rate sends")->capture_default_str();
	if (const auto status = app.parse(argc, argv))
		return *status;
	if (o.max_us < o.min_us)
		die("--max-us is less than --min-us");
	errno = 0;
	return Generator(o).run();
}

} // namespace spare_pktgen
