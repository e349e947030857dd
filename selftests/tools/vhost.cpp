// SPDX-License-Identifier: GPL-2.0-only
/*
 * spare-vhost - the receiving half of a guest's NIC behind the real vhost-net, without KVM, so that it runs in the deterministic host.
 *
 * It owns the virtqueue that vhost fills from its tap, sends datagrams from another network namespace, and takes each out of the queue
 * as a guest's driver would. With nothing else on the CPU the time of a round, from the first byte sent to the last packet taken, is the
 * whole way: sender, softirq, bridge, tap, vhost, the switches between; as SCHED_FIFO (--fifo) it sends, which ends with the softirq, before vhost
 * runs. Several datagrams are one GSO packet, which its device's gso_max_segs 1 cuts into a softirq's batch.
 *
 * A meter has some seconds after the first packet to see what the vhost worker is. --unanswered is the sender alone.
 *
 * With --frames it sends, too, as an emulator without vhost does: into its tap, and on from there by the kernel.
 *
 * Figures: round.p50_ns, send.p50_ns, of it the sending; packets; rounds; lost, packets of rounds that did not come in a second.
 */
#include "calibrate/frame.hpp"
#include "calibrate/guest_nic.hpp"
#include "cli/options.hpp"
#include "tool_util.h"
#include "tools.h"

#include <algorithm>
#include <csignal>
#include <optional>
#include <vector>

#include <arpa/inet.h>
#include <linux/if_ether.h>
#include <linux/udp.h>
#include <netinet/ether.h>
#include <sched.h>
#include <sys/socket.h>

using namespace tool;

namespace spare_vhost {
namespace {

constexpr uint64_t kSecond = 1000000000;
constexpr uint16_t kPort = 9;

struct options {
	std::string tap, cgroup, netns, to;
	unsigned batch = 1, rounds = 2000, size = 64, seconds = 0;
	uint64_t gap_us = 0;
	int fifo = 0;
	bool unanswered = false, napi = false, offloads = false;
	unsigned frames = 0;
	std::string mac;
};

/* A frame that nobody understands, behind an empty virtio header, to this address. */
std::vector<uint8_t> strange_frame(const ether_addr &to, size_t size)
{
	std::vector<uint8_t> frame(spare::virtio_header + std::max(size, sizeof(ethhdr)));
	ethhdr eth{};

	std::copy(std::begin(to.ether_addr_octet), std::end(to.ether_addr_octet), std::begin(eth.h_dest));
	eth.h_source[0] = 2;
	eth.h_source[5] = 1;
	eth.h_proto = htons(ETH_P_802_EX1);
	std::memcpy(&frame[spare::virtio_header], &eth, sizeof(eth));
	return frame;
}

spare::GuestNic open_nic(const options &o)
{
	auto nic = spare::GuestNic::open({.tap = o.tap, .offloads = o.offloads, .napi = o.napi});

	errno = 0;
	if (!nic)
		die("{}", nic.error().text);
	return std::move(*nic);
}

/* A socket stays in the namespace where it was made. */
Fd sender(const options &o)
{
	const Fd own(open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC)), there(o.netns.empty() ? -1 : open(("/run/netns/" + o.netns).c_str(), O_RDONLY | O_CLOEXEC));
	sockaddr_in to{};

	if (!o.netns.empty() && (!there || setns(there.get(), CLONE_NEWNET)))
		die("network namespace {}", o.netns);
	Fd fd(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
	if (there && setns(own.get(), CLONE_NEWNET))
		die("setns");
	to.sin_family = AF_INET;
	to.sin_port = htons(kPort);
	if (!fd || inet_pton(AF_INET, o.to.c_str(), &to.sin_addr) != 1 || connect(fd.get(), reinterpret_cast<const sockaddr *>(&to), sizeof(to)))
		die("to {}", o.to);
	const int segment = int(o.size);
	if (o.batch > 1 && setsockopt(fd.get(), IPPROTO_UDP, UDP_SEGMENT, &segment, sizeof(segment)))
		die("UDP_SEGMENT");
	return fd;
}

/* The next packets, up to want, or until a second has passed. */
unsigned receive(spare::GuestNic &nic, unsigned want)
{
	const uint64_t end = now_ns() + kSecond;
	unsigned got = 0;

	while ((got += *nic.take()) < want && now_ns() < end)
		nic.wait(1000);
	return got;
}

} // namespace

int run(int argc, char **argv)
{
	cli::App app("a guest's receive queue behind the real vhost-net, and who sends to it");
	options o;

	app.add_option("--tap", o.tap, "tap to create, or to take over, with vnet_hdr");
	app.add_flag("--unanswered", o.unanswered, "only send: nothing is received");
	app.add_option("--cgroup", o.cgroup, "directory of the cgroup to enter first");
	app.add_option("--netns", o.netns, "network namespace to send from, as ip netns names it");
	app.add_option("--to", o.to, "address to send to; none: only receive");
	app.add_option("--batch", o.batch, "datagrams of a round")->check(cli::Range(1u, 64u))->capture_default_str();
	app.add_option("--rounds", o.rounds, "how many")->capture_default_str();
	app.add_option("--size", o.size, "bytes of a datagram")->check(cli::Range(1u, 1400u))->capture_default_str();
	app.add_option("--gap-us", o.gap_us, "sleep after each round")->capture_default_str();
	app.add_option("--fifo", o.fifo, "real-time priority")->check(cli::Range(0, 99))->capture_default_str();
	app.add_option("--seconds", o.seconds, "without --to: how long")->capture_default_str();
	app.add_option("--frames", o.frames, "without --to, then: frames to send into the tap")->capture_default_str();
	app.add_option("--mac", o.mac, "to whom they are");
	app.add_flag("--offloads", o.offloads, "the guest completes checksums, and takes what is not cut, as Linux guests do");
	app.add_flag("--napi", o.napi, "the tap with IFF_NAPI: what is sent into it is served in softirqs");
	if (const auto status = app.parse(argc, argv))
		return *status;
	errno = 0;
	if (!o.cgroup.empty() && !write_file(o.cgroup + "/cgroup.procs", "0"))
		die("{}/cgroup.procs", o.cgroup);
	if (o.unanswered ? o.to.empty() : o.tap.empty())
		die("--tap NAME is wanted, or --unanswered with --to");
	std::optional<spare::GuestNic> queue;
	if (!o.unanswered)
		queue.emplace(open_nic(o));
	if (o.to.empty()) {
		const ether_addr *to = o.frames ? ether_aton(o.mac.c_str()) : nullptr;
		uint64_t n = 0;

		if (o.frames && !to)
			die("--frames needs --mac");
		for (const uint64_t end = now_ns() + o.seconds * kSecond; now_ns() < end;)
			n += receive(*queue, 1);
		for (unsigned i = 0; i < o.frames; i++)
			if (!queue->write(strange_frame(*to, o.size)))
				die("frame");
		fmt::print("packets {}\n", n);
		return 0;
	}
	const Fd out = sender(o);
	const std::string bytes(size_t(o.size) * o.batch, 'x');
	std::vector<uint64_t> took, sent;
	uint64_t lost = 0, packets = 0;
	const sched_param fifo{o.fifo};
	if (o.fifo && sched_setscheduler(0, SCHED_FIFO, &fifo))
		die("SCHED_FIFO");
	if (queue) {
		sleep_for(2 * kSecond); /* the bridge has to notice that the tap has a carrier */
		if (send(out.get(), bytes.data(), bytes.size(), 0) != ssize_t(bytes.size()))
			die("send to {}", o.to);
		sleep_for(5 * kSecond);
		static_cast<void>(*queue->take());
	}
	for (unsigned i = 0; i < o.rounds; i++) {
		const uint64_t begin = now_ns();

		if (send(out.get(), bytes.data(), bytes.size(), 0) != ssize_t(bytes.size()))
			die("send to {}", o.to);
		sent.push_back(now_ns() - begin);
		const unsigned got = queue ? receive(*queue, o.batch) : o.batch;
		took.push_back(now_ns() - begin);
		packets += got;
		lost += got < o.batch ? o.batch - got : 0;
		if (o.gap_us)
			sleep_for(o.gap_us * 1000);
	}
	std::sort(took.begin(), took.end());
	std::sort(sent.begin(), sent.end());
	fmt::print("rounds {}\npackets {}\nlost {}\nround.p50_ns {}\nround.p99_ns {}\nsend.p50_ns {}\n", o.rounds, packets, lost, took[took.size() / 2], took[took.size() * 99 / 100],
		   sent[sent.size() / 2]);
	return 0;
}

} // namespace spare_vhost
