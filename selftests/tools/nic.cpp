// SPDX-License-Identifier: GPL-2.0-only
/*
 * spare-nic - what packets cost the host: a guest's NIC without a guest, and a list of loads for it, one after the other (E6).
 *
 * The guest's side is this process, in --cgroup. Who sends to it is a child in --peer-cgroup, on --wire in --netns. A load is
 *   DIRECTION:SIZE:BATCH:PER_S:KIND    tx: the guest sends, to --wire-mac; rx: to it, at --mac
 * SIZE bytes of payload, batches of BATCH packets, PER_S packets a second, KIND udp, or tso: one TCP packet of SIZE bytes until a device cuts it. A
 * batch to the guest is one packet (UDP_SEGMENT), which the device's gso_max_segs 1 cuts into as many of one softirq. Without --tso it cuts TCP packets, too.
 *
 * Before and after each load nothing happens for --pause-ms, so that somebody else's readings by time can be told apart. For each a line
 *   load LOAD packets N lost N begin NS end NS guest NS vhost NS peer NS
 * begin and end by CLOCK_REALTIME; CPU time by the kernel's account (schedstat) of this process, of the vhost worker, of the sending child.
 */
#include "calibrate/frame.hpp"
#include "calibrate/guest_nic.hpp"
#include "calibrate/wire.hpp"
#include "cli/options.hpp"
#include "tool_util.h"
#include "tools.h"

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <string>
#include <vector>

#include <netinet/ether.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/socket.h>

using namespace tool;

namespace spare_nic {
namespace {

constexpr uint64_t kSecond = 1000000000, kMs = 1000000;

struct options {
	std::string tap, cgroup, peer_cgroup, netns, wire, nic, mac, wire_mac = "02:00:00:00:00:99";
	std::vector<std::string> loads;
	bool no_vhost = false, tso = false;
	unsigned packets = 400, pause_ms = 1500;
};

struct load {
	std::string text;
	bool to_guest;
	unsigned size, batch, per_s;
	bool tso;
	unsigned rounds;
};

/* What the child is asked for, and what it answers. */
struct order {
	unsigned rounds;
	uint64_t gap_ns;
	size_t frame;
};
struct answer {
	uint64_t cpu_ns;
};

load parse(const std::string &text, unsigned packets)
{
	char direction[3] = {}, kind[4] = {};
	load l{text, false, 0, 0, 0, false, 0};

	if (std::sscanf(text.c_str(), "%2[a-z]:%u:%u:%u:%3[a-z]", direction, &l.size, &l.batch, &l.per_s, kind) != 5 || !l.size || !l.batch || !l.per_s ||
	    l.size > spare::payload_most)
		die("'{}' is no load: DIRECTION:SIZE:BATCH:PER_S:KIND", text);
	l.to_guest = direction == std::string_view("rx");
	l.tso = kind == std::string_view("tso");
	if (!l.to_guest && direction != std::string_view("tx"))
		die("'{}' is neither rx nor tx", direction);
	if (l.tso && l.to_guest && l.batch > 1)
		die("'{}': batches to the guest are of udp", text);
	l.rounds = (packets + l.batch - 1) / l.batch;
	return l;
}

spare::Mac mac_of(const std::string &text)
{
	const ether_addr *address = ether_aton(text.c_str());
	spare::Mac mac;

	if (!address)
		die("'{}' is no address", text);
	std::copy(std::begin(address->ether_addr_octet), std::end(address->ether_addr_octet), mac.begin());
	return mac;
}

std::vector<uint8_t> frame_of(const load &l, const options &o)
{
	spare::FrameShape shape{.to = mac_of(l.to_guest ? o.mac : o.wire_mac), .from = mac_of(l.to_guest ? o.wire_mac : o.mac), .size = l.size};

	if (l.tso)
		shape.cut = spare::Cut::tcp;
	else if (l.to_guest && l.batch > 1)
		shape = {.to = shape.to, .from = shape.from, .size = l.size, .pieces = l.batch, .cut = spare::Cut::udp};
	return spare::make_frame(shape);
}

void enter(const std::string &cgroup)
{
	errno = 0;
	if (!cgroup.empty() && !write_file(cgroup + "/cgroup.procs", "0"))
		die("{}/cgroup.procs", cgroup);
}

uint64_t own_ns()
{
	timespec ts;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return uint64_t(ts.tv_sec) * kSecond + uint64_t(ts.tv_nsec);
}

uint64_t real_ns()
{
	timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return uint64_t(ts.tv_sec) * kSecond + uint64_t(ts.tv_nsec);
}

/* Of this process's thread for vhost, where that is one (6.4 and later); 0: there is none. */
uint64_t vhost_ns()
{
	uint64_t sum = 0;

	for (const auto &task : std::filesystem::directory_iterator("/proc/self/task")) {
		const auto comm = read_file(task.path() / "comm"), stat = read_file(task.path() / "schedstat");
		if (comm && stat && comm->starts_with("vhost-"))
			sum += to_number<uint64_t>(stat->substr(0, stat->find(' '))).value_or(0);
	}
	return sum;
}

/* Calls work for each round, gap_ns apart. */
template <typename Work> void rounds(unsigned n, uint64_t gap_ns, Work work)
{
	const uint64_t start = now_ns() + kMs;

	for (unsigned i = 0; i < n; i++) {
		sleep_until(start + i * gap_ns);
		work();
	}
}

/* The child: sends what the other end asks for until that is gone. */
[[noreturn]] void send_for(int fd, const options &o)
{
	const Fd there(open(("/run/netns/" + o.netns).c_str(), O_RDONLY | O_CLOEXEC));
	order what;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	enter(o.peer_cgroup);
	if (!o.netns.empty() && (!there || setns(there.get(), CLONE_NEWNET)))
		die("network namespace {}", o.netns);
	auto wire = spare::Wire::open(o.wire);
	const auto tso = spare::set_tso(o.wire, o.tso);
	errno = 0;
	if (!wire || !tso)
		die("{}", wire ? tso.error().text : wire.error().text);
	while (recv(fd, &what, sizeof(what), MSG_WAITALL) == sizeof(what)) {
		std::vector<uint8_t> frame(what.frame);

		if (recv(fd, frame.data(), frame.size(), MSG_WAITALL) != ssize_t(frame.size()))
			break;
		wire->set_frame(frame);
		const uint64_t before = own_ns();
		rounds(what.rounds, what.gap_ns, [&] {
			if (const auto sent = wire->send(); !sent)
				die("{}", sent.error().text);
		});
		const answer did{own_ns() - before};
		if (send(fd, &did, sizeof(did), 0) != sizeof(did))
			break;
	}
	_exit(0);
}

struct outcome {
	uint64_t packets = 0, peer_ns = 0;
};

outcome to_guest(spare::GuestNic &nic, const load &l, int child, const std::vector<uint8_t> &frame)
{
	const order what{l.rounds, uint64_t(l.batch) * kSecond / l.per_s, frame.size()};
	const uint64_t want = uint64_t(l.rounds) * l.batch, end = now_ns() + l.rounds * what.gap_ns + kSecond;
	outcome out;
	answer did{};

	if (send(child, &what, sizeof(what), 0) != sizeof(what) || send(child, frame.data(), frame.size(), 0) != ssize_t(frame.size()))
		die("the sender");
	while (out.packets < want && now_ns() < end) {
		nic.wait(100);
		out.packets += *nic.take();
	}
	if (recv(child, &did, sizeof(did), MSG_WAITALL) != sizeof(did))
		die("the sender has ended");
	/* What the device has cut and nobody has put together is more than was sent. */
	sleep_for(10 * kMs);
	out.packets += *nic.take();
	out.peer_ns = did.cpu_ns;
	return out;
}

outcome from_guest(spare::GuestNic &nic, const load &l, const std::vector<uint8_t> &frame)
{
	outcome out;

	nic.set_frame(frame);
	rounds(l.rounds, uint64_t(l.batch) * kSecond / l.per_s, [&] { out.packets += nic.send(l.batch); });
	for (const uint64_t end = now_ns() + kSecond; nic.on_the_way() && now_ns() < end;)
		sleep_for(kMs);
	out.packets -= nic.on_the_way();
	return out;
}

void measure(spare::GuestNic &nic, const load &l, int child, const options &o)
{
	const auto frame = frame_of(l, o);
	const uint64_t want = uint64_t(l.rounds) * l.batch;

	sleep_for(o.pause_ms * kMs);
	static_cast<void>(*nic.take());
	const uint64_t guest = own_ns(), vhost = vhost_ns(), begin = real_ns();
	const outcome out = l.to_guest ? to_guest(nic, l, child, frame) : from_guest(nic, l, frame);
	/* The worker may still be at it. */
	sleep_for(10 * kMs);
	const uint64_t vhost_did = vhost_ns() - vhost, end = real_ns(), guest_did = own_ns() - guest;
	/* What is done from here on is no load's. */
	sleep_for(o.pause_ms * kMs);
	fmt::print("load {} packets {} lost {} begin {} end {} guest {} vhost {} peer {}\n", l.text, out.packets, want - std::min(want, out.packets), begin, end, guest_did, vhost_did,
		   out.peer_ns);
	std::fflush(stdout);
}

} // namespace

int run(int argc, char **argv)
{
	cli::App app("what packets cost: a guest's NIC without a guest, and loads for it");
	options o;
	std::vector<load> loads;

	app.add_option("--tap", o.tap, "tap to create, or to take over")->required();
	app.add_flag("--no-vhost", o.no_vhost, "read and write the tap, as an emulator does");
	app.add_option("--cgroup", o.cgroup, "directory of the guest's cgroup");
	app.add_option("--peer-cgroup", o.peer_cgroup, "directory of the sender's cgroup");
	app.add_option("--netns", o.netns, "network namespace of the sender, as ip netns names it");
	app.add_option("--wire", o.wire, "device of the sender")->required();
	app.add_option("--nic", o.nic, "the host's end of that: it gets a NAPI of its own, as NICs have, and GRO");
	app.add_option("--mac", o.mac, "address of the guest")->required();
	app.add_option("--wire-mac", o.wire_mac, "to whom the guest sends")->capture_default_str();
	app.add_flag("--tso", o.tso, "the sender's device passes TCP packets on as they are; past the NAPI of --nic, as the kernel's veth is");
	app.add_option("--packets", o.packets, "of a load")->capture_default_str();
	app.add_option("--pause-ms", o.pause_ms, "before and after a load")->capture_default_str();
	app.add_option("loads", o.loads, "DIRECTION:SIZE:BATCH:PER_S:KIND ...")->required();
	if (const auto status = app.parse(argc, argv))
		return *status;
	errno = 0;
	for (const std::string &text : o.loads)
		loads.push_back(parse(text, o.packets));
	if (!o.nic.empty())
		if (const auto on = spare::receive_by_napi(o.nic); !on)
			die("{}", on.error().text);
	int pair[2];
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
		die("socketpair");
	const Fd here(pair[0]), there(pair[1]);
	const pid_t child = fork();
	if (child < 0)
		die("fork");
	if (!child)
		send_for(there.get(), o);
	enter(o.cgroup);
	auto nic = spare::GuestNic::open({.tap = o.tap, .vhost = !o.no_vhost, .offloads = true});
	errno = 0;
	if (!nic)
		die("{}", nic.error().text);
	/* The bridge has to notice that the tap has a carrier; a meter sees what the vhost worker is when it first does something. */
	sleep_for(2 * kSecond);
	const load first{"first", true, 64, 1, 100, false, 1};
	static_cast<void>(to_guest(*nic, first, here.get(), frame_of(first, o)));
	sleep_for(5 * kSecond);
	for (const load &l : loads)
		measure(*nic, l, here.get(), o);
	return 0;
}

} // namespace spare_nic
