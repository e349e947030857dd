// SPDX-License-Identifier: GPL-2.0-only
/*
 * spare-trace - what servers really ran, from the kernel's sched_switch events, and the softirqs' (experiment E2).
 *
 * It asks neither the module nor the class: perf records each sched_switch, and beginning and end of each softirq, of every CPU with a stamp of
 * CLOCK_MONOTONIC in a buffer that is read after the end, so recording costs the same whoever runs. A server is the threads of a cgroup (and of
 * those below it), without the softirqs that ran on top of them, which are said beside it (ACC-2). From its period P, runtime Q and one replenishment instant (given, or its first dispatch after a gap) follow
 * the windows [phase + iP, phase + (i+1)P): use in each, the most over Q, how far the running sum leaves i * Q (lag), and the
 * deadlines missed: windows at whose end a server that always has work has got less than is due by more than --slack-us.
 *
 * With --stat it also prints the class's own account, over the same time, next to it: spare.stat is read in the middle of
 * the gap before a replenishment, when the period's budget is used up.
 */
#include "cli/options.hpp"
#include "server_stat.h"
#include "tools.h"

#include <algorithm>
#include <memory>
#include <set>
#include <vector>

#include <dirent.h>
#include <linux/perf_event.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>

using namespace tool;

namespace spare_trace {
namespace {

constexpr uint64_t kUs = 1000, kMs = 1000000;

struct server {
	std::string name, cgroup;
	uint64_t runtime_ns, period_ns;
	std::set<uint32_t> tids;
	ServerStat stat;
	server_view first, last;
	uint64_t phase_ns = 0;
};

enum class what { switched, softirq_begins, softirq_ends };

struct sched_event {
	uint64_t time_ns;
	uint32_t cpu, prev, next; /* threads of a switch */
	what kind;
};

struct options {
	std::vector<std::string> servers;
	std::string tracefs = "/sys/kernel/tracing", csv;
	unsigned seconds = 20, cpu = 0, buffer_mib = 32, wait_s = 0;
	uint64_t slack_us = 100, gap_us = 20;
	int fifo = 90;
	bool stat = false, any_phase = false;
};

/* Numbers of the events and field offsets of sched_switch, from the kernel's own descriptions. */
struct formats {
	uint64_t switched, softirq_begins, softirq_ends;
	size_t prev_pid, next_pid;
};

class Format {
public:
	Format(const std::string &tracefs, const std::string &event) : path_(fmt::format("{}/events/{}/format", tracefs, event))
	{
		const auto text = read_file(path_);

		if (!text)
			die("{}", path_);
		text_ = *text;
	}
	size_t number_after(std::string_view key, std::string_view from = {}) const
	{
		const size_t at = text_.find(key, text_.find(from));

		if (at == std::string::npos)
			die("{} has no {}", path_, key);
		return std::strtoul(text_.c_str() + at + key.size(), nullptr, 10);
	}
	uint64_t id() const { return number_after("ID: "); }

private:
	std::string path_, text_;
};

formats read_formats(const std::string &tracefs)
{
	const Format switched(tracefs, "sched/sched_switch");

	return {switched.id(), Format(tracefs, "irq/softirq_entry").id(), Format(tracefs, "irq/softirq_exit").id(),
		switched.number_after("offset:", "pid_t prev_pid;"), switched.number_after("offset:", "pid_t next_pid;")};
}

/* One CPU's events in a perf ring that is large enough to be read at the end. */
class Recorder {
public:
	Recorder(const formats &f, unsigned cpu, unsigned mib) : f_(f), cpu_(cpu), data_size_(size_t(mib) << 20)
	{
		for (const uint64_t id : {f.switched, f.softirq_begins, f.softirq_ends})
			fds_.push_back(open_event(id));
		map_ = static_cast<char *>(mmap(nullptr, page_ + data_size_, PROT_READ | PROT_WRITE, MAP_SHARED, fds_[0].get(), 0));
		if (map_ == MAP_FAILED)
			die("perf ring of {} MiB", mib);
		for (const Fd &fd : fds_)
			if (fd.get() != fds_[0].get() && ioctl(fd.get(), PERF_EVENT_IOC_SET_OUTPUT, fds_[0].get()))
				die("one perf ring for several events");
	}
	Recorder(const Recorder &) = delete;
	Recorder &operator=(const Recorder &) = delete;
	~Recorder() { munmap(map_, page_ + data_size_); }

	void control(unsigned long what)
	{
		for (const Fd &fd : fds_)
			if (ioctl(fd.get(), what, 0))
				die("perf ioctl");
	}

	/* All events; false when some were lost. */
	bool collect(std::vector<sched_event> &out) const
	{
		const auto *head = reinterpret_cast<const perf_event_mmap_page *>(map_);
		const uint64_t end = __atomic_load_n(&head->data_head, __ATOMIC_ACQUIRE);
		bool whole = true;
		std::vector<char> rec;

		for (uint64_t at = 0; at < end;) {
			perf_event_header h;

			copy(&h, at, sizeof(h));
			rec.resize(h.size);
			copy(rec.data(), at, h.size);
			at += h.size;
			if (h.type == PERF_RECORD_LOST)
				whole = false;
			if (h.type != PERF_RECORD_SAMPLE)
				continue;
			out.push_back(parse(rec.data() + sizeof(h)));
		}
		return whole;
	}

private:
	Fd open_event(uint64_t id)
	{
		perf_event_attr a{};

		a.type = PERF_TYPE_TRACEPOINT;
		a.size = sizeof(a);
		a.config = id;
		a.sample_period = 1;
		a.sample_type = PERF_SAMPLE_TIME | PERF_SAMPLE_RAW;
		a.use_clockid = 1;
		a.clockid = CLOCK_MONOTONIC;
		a.disabled = 1;
		Fd fd(int(syscall(SYS_perf_event_open, &a, -1, cpu_, -1, PERF_FLAG_FD_CLOEXEC)));
		if (!fd)
			die("perf_event_open of tracepoint {} on CPU {}", id, cpu_);
		return fd;
	}

	/* u64 time, u32 size, raw, which begins with the event's number */
	sched_event parse(const char *sample) const
	{
		const char *raw = sample + 8 + 4;
		sched_event e{0, cpu_, 0, 0, what::switched};
		uint16_t id;

		std::memcpy(&e.time_ns, sample, 8);
		std::memcpy(&id, raw, 2);
		if (id == f_.switched) {
			std::memcpy(&e.prev, raw + f_.prev_pid, 4);
			std::memcpy(&e.next, raw + f_.next_pid, 4);
		} else {
			e.kind = id == f_.softirq_begins ? what::softirq_begins : what::softirq_ends;
		}
		return e;
	}

	void copy(void *to, uint64_t at, size_t n) const
	{
		const size_t off = at % data_size_, first = std::min(n, data_size_ - off);

		std::memcpy(to, map_ + page_ + off, first);
		std::memcpy(static_cast<char *>(to) + first, map_ + page_, n - first);
	}

	formats f_;
	unsigned cpu_;
	size_t page_ = size_t(sysconf(_SC_PAGESIZE)), data_size_;
	std::vector<Fd> fds_;
	char *map_;
};

void add_tids(const std::string &dir, std::set<uint32_t> &tids)
{
	const auto text = read_file(dir + "/cgroup.threads");

	if (!text)
		die("{}/cgroup.threads", dir);
	for (size_t at = 0; at < text->size();) {
		const size_t eol = std::min(text->find('\n', at), text->size());

		if (const auto t = to_number<uint32_t>(std::string_view(*text).substr(at, eol - at)))
			tids.insert(*t);
		at = eol + 1;
	}
	DIR *d = opendir(dir.c_str());
	if (!d)
		die("{}", dir);
	while (const dirent *e = readdir(d))
		if (e->d_type == DT_DIR && e->d_name[0] != '.')
			add_tids(dir + "/" + e->d_name, tids);
	closedir(d);
}

/* NAME=CGROUP,Q_US,P_US */
server parse_server(const std::string &s)
{
	const size_t eq = s.find('='), c1 = s.find(',', eq + 1), c2 = s.find(',', c1 + 1);

	errno = 0;
	if (eq == std::string::npos || c1 == std::string::npos || c2 == std::string::npos)
		die("not NAME=CGROUP,Q_US,P_US: {}", s);
	const auto q = to_number<uint64_t>(std::string_view(s).substr(c1 + 1, c2 - c1 - 1));
	const auto p = to_number<uint64_t>(std::string_view(s).substr(c2 + 1));
	if (!q || !p || !*q || *q > *p)
		die("not a reservation: {}", s);
	server v{s.substr(0, eq), s.substr(eq + 1, c1 - eq - 1), *q * kUs, *p * kUs, {}, {}, {}, {}};
	add_tids(v.cgroup, v.tids);
	if (v.tids.empty())
		die("no thread in {}", v.cgroup);
	return v;
}

struct interval {
	uint64_t from, to;
};

struct use {
	std::vector<interval> runs;
	uint64_t softirq_ns = 0; /* on top of its threads */
};

/* When any thread of s ran, and no softirq on top of it (threads of one server on several CPUs overlap: their times add up). */
use use_of(const server &s, const std::vector<sched_event> &ev)
{
	struct state {
		uint64_t since = 0, softirq_since = 0; /* 0: not running; no softirq on top of it */
	};
	use out;
	std::vector<state> cpus;

	for (const sched_event &e : ev) {
		if (cpus.size() <= e.cpu)
			cpus.resize(e.cpu + 1);
		state &c = cpus[e.cpu];
		if (c.since && (e.kind != what::switched || s.tids.count(e.prev)))
			out.runs.push_back({c.since, e.time_ns});
		switch (e.kind) {
		case what::switched:
			c = {s.tids.count(e.next) ? e.time_ns : 0, 0};
			break;
		case what::softirq_begins:
			c = {0, c.since ? e.time_ns : 0};
			break;
		case what::softirq_ends:
			if (c.softirq_since) {
				out.softirq_ns += e.time_ns - c.softirq_since;
				c = {e.time_ns, 0};
			}
			break;
		}
	}
	std::sort(out.runs.begin(), out.runs.end(), [](const interval &a, const interval &b) { return a.from < b.from; });
	return out;
}

/* The first dispatch that follows at least half of P - Q without service: near enough to a replenishment for a lone server. */
uint64_t guess_phase(const server &s, const std::vector<interval> &runs)
{
	for (size_t i = 1; i < runs.size(); i++)
		if (runs[i].from - runs[i - 1].to > (s.period_ns - s.runtime_ns) / 2)
			return runs[i].from;
	errno = 0;
	die("{} was never throttled", s.name);
}

struct result {
	std::vector<uint64_t> use;
	uint64_t gap_max = 0, misses = 0;
	int64_t lag_min = 0, lag_max = 0;
};

result analyse(const server &s, const std::vector<interval> &runs, uint64_t phase, uint64_t from, uint64_t to, uint64_t slack_ns)
{
	result r;

	while (phase < from)
		phase += s.period_ns;
	if (to > phase)
		r.use.resize((to - phase) / s.period_ns);
	const uint64_t end = phase + r.use.size() * s.period_ns;

	for (size_t i = 0; i < runs.size(); i++) {
		uint64_t a = std::max(runs[i].from, phase);
		const uint64_t b = std::min(runs[i].to, end);

		for (; a < b;) {
			const size_t k = (a - phase) / s.period_ns;
			const uint64_t edge = std::min(b, phase + (k + 1) * s.period_ns);

			r.use[k] += edge - a;
			a = edge;
		}
		if (i && runs[i].from > runs[i - 1].to && runs[i - 1].to >= phase && runs[i].from <= end)
			r.gap_max = std::max(r.gap_max, runs[i].from - runs[i - 1].to);
	}
	int64_t lag = 0, overdrawn = 0;
	for (uint64_t u : r.use) {
		const int64_t more = int64_t(u) - int64_t(s.runtime_ns);

		lag += more;
		r.lag_min = std::min(r.lag_min, lag);
		r.lag_max = std::max(r.lag_max, lag);
		/* What was overdrawn before is paid in this period and not due. */
		r.misses += more + overdrawn + int64_t(slack_ns) < 0;
		overdrawn = std::max<int64_t>(overdrawn + more, 0);
	}
	return r;
}

/* Error of mean against Q in parts per million. */
int64_t ppm(uint64_t mean_ns, uint64_t runtime_ns)
{
	return (int64_t(mean_ns) - int64_t(runtime_ns)) * 1000000 / int64_t(runtime_ns);
}

/* softirq_ns: in the whole record, on top of it; printed in relation to its use */
void print_result(const server &s, const result &r, uint64_t softirq_ns)
{
	if (r.use.empty()) {
		fmt::print("{}.periods 0\n", s.name);
		return;
	}
	const auto [lo, hi] = std::minmax_element(r.use.begin(), r.use.end());
	uint64_t sum = 0;

	for (uint64_t u : r.use)
		sum += u;
	const uint64_t mean = (sum + r.use.size() / 2) / r.use.size();
	fmt::print("{}.softirq_ppm {}\n", s.name, sum ? softirq_ns * 1000000 / sum : 0);
	fmt::print("{0}.periods {1}\n{0}.mean_ns {2}\n{0}.mean_err_ppm {3}\n{0}.min_ns {4}\n{0}.max_ns {5}\n"
		   "{0}.overrun_max_ns {6}\n{0}.lag_min_ns {7}\n{0}.lag_max_ns {8}\n{0}.gap_max_ns {9}\n{0}.missed {10}\n",
		   s.name, r.use.size(), mean, ppm(mean, s.runtime_ns), *lo, *hi,
		   *hi > s.runtime_ns ? *hi - s.runtime_ns : 0, r.lag_min, r.lag_max, r.gap_max, r.misses);
}

/*
 * The class's account between two readings that were both taken while the budget was used up. Its overrun_max_ns is that
 * since the server began; overruns are those of more than 100 us in between.
 */
void print_account(const server &s)
{
	const uint64_t periods = s.last.periods - s.first.periods;

	if (!periods) {
		fmt::print("{}.class.periods 0\n", s.name);
		return;
	}
	const uint64_t mean = (s.last.used_ns - s.first.used_ns + periods / 2) / periods;
	fmt::print("{0}.class.periods {1}\n{0}.class.mean_ns {2}\n{0}.class.mean_err_ppm {3}\n{0}.class.overruns {4}\n"
		   "{0}.class.misses {5}\n{0}.class.overrun_max_ns {6}\n",
		   s.name, periods, mean, ppm(mean, s.runtime_ns), s.last.overruns - s.first.overruns,
		   s.last.misses - s.first.misses, s.last.overrun_max_ns);
}

/* Reads spare.stat while the server is throttled. */
server_view read_exhausted(const server &s)
{
	const uint64_t limit = now_ns() + 20 * s.period_ns + 1000 * kMs;

	for (;;) {
		server_view v = s.stat.read();

		if (v.throttled)
			return v;
		errno = 0;
		if (now_ns() > limit)
			die("{} is never throttled", s.name);
		sleep_for(std::max<uint64_t>(s.period_ns / 50, 100 * kUs));
	}
}

} // namespace

int run(int argc, char **argv)
{
	cli::App app("use of servers per period, from sched_switch events, without softirqs on top of them");
	options o;

	app.add_option("--server", o.servers, "NAME=CGROUP,Q_US,P_US; may be given several times")->required();
	app.add_option("--seconds", o.seconds, "how long to record")->capture_default_str();
	app.add_option("--wait", o.wait_s, "begin to record so many seconds after all is prepared");
	app.add_flag("--any-phase", o.any_phase, "periods begin with the record: for servers that are never throttled; only the mean counts");
	app.add_flag("--stat", o.stat, "take the phase from spare.stat and print the class's account as well");
	app.add_option("--cpu", o.cpu, "CPU of the servers in spare.stat")->capture_default_str();
	app.add_option("--slack-us", o.slack_us, "lack of service at a deadline that is no miss yet")->capture_default_str();
	app.add_option("--tracefs", o.tracefs, "where tracefs is mounted")->capture_default_str();
	app.add_option("--buffer-mib", o.buffer_mib, "perf ring per CPU, a power of two")->capture_default_str();
	app.add_option("--fifo", o.fifo, "SCHED_FIFO priority while waiting; 0: leave the class")->capture_default_str();
	app.add_option("--csv", o.csv, "write the use of every period here");
	if (const auto status = app.parse(argc, argv))
		return *status;

	errno = 0;
	std::vector<server> servers;
	for (const std::string &s : o.servers) {
		servers.push_back(parse_server(s));
		if (o.stat)
			servers.back().stat = ServerStat(servers.back().cgroup + "/spare.stat", o.cpu);
	}
	const formats format = read_formats(o.tracefs);
	std::vector<std::unique_ptr<Recorder>> recorders;
	for (long c = 0; c < sysconf(_SC_NPROCESSORS_CONF); c++) {
		if (read_file(fmt::format("/sys/devices/system/cpu/cpu{}/online", c)) == "0\n")
			continue;
		recorders.push_back(std::make_unique<Recorder>(format, unsigned(c), o.buffer_mib));
	}
	if (mlockall(MCL_CURRENT | MCL_FUTURE))
		die("mlockall");
	const sched_param sp{o.fifo};
	if (o.fifo && sched_setscheduler(0, SCHED_FIFO, &sp))
		die("SCHED_FIFO");

	sleep_for(o.wait_s * 1000 * kMs);
	for (auto &r : recorders)
		r->control(PERF_EVENT_IOC_ENABLE);
	const uint64_t from = now_ns();
	if (o.stat)
		for (server &s : servers) {
			s.first = read_exhausted(s);
			s.phase_ns = s.first.d_ns;
		}
	sleep_until(from + o.seconds * 1000 * kMs);
	if (o.stat)
		for (server &s : servers)
			s.last = read_exhausted(s);
	const uint64_t to = now_ns();
	for (auto &r : recorders)
		r->control(PERF_EVENT_IOC_DISABLE);
	/* What follows disturbs nobody. */
	const sched_param normal{0};
	if (o.fifo && sched_setscheduler(0, SCHED_OTHER, &normal))
		die("SCHED_OTHER");

	std::vector<sched_event> events;
	bool whole = true;
	for (auto &r : recorders)
		whole &= r->collect(events);
	std::stable_sort(events.begin(), events.end(),
			 [](const sched_event &a, const sched_event &b) { return a.time_ns < b.time_ns; });
	fmt::print("events {}\nlost {}\n", events.size(), whole ? 0 : 1);

	FILE *csv = o.csv.empty() ? nullptr : fopen(o.csv.c_str(), "we");
	if (!o.csv.empty() && !csv)
		die("{}", o.csv);
	if (csv)
		fmt::print(csv, "server,period,use_ns\n");
	for (server &s : servers) {
		const use u = use_of(s, events);
		const result r = analyse(s, u.runs, o.stat ? s.phase_ns : o.any_phase ? from : guess_phase(s, u.runs), from, to, o.slack_us * kUs);

		print_result(s, r, u.softirq_ns);
		if (o.stat)
			print_account(s);
		for (size_t i = 0; csv && i < r.use.size(); i++)
			fmt::print(csv, "{},{},{}\n", s.name, i, r.use[i]);
	}
	if (csv && fclose(csv))
		die("{}", o.csv);
	return 0;
}

} // namespace spare_trace
