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
#include "cli/options.hpp"
#include "tool_util.h"
#include "tools.h"

#include <algorithm>
#include <atomic>
#include <csignal>
#include <optional>
#include <vector>

/* The functions of linux/virtio_ring.h, which linux/vhost.h includes, are no C++. */
#define VIRTIO_RING_NO_LEGACY
#include <arpa/inet.h>
#include <linux/if_ether.h>
#include <linux/if_tun.h>
#include <linux/udp.h>
#include <linux/vhost.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <net/if.h>
#include <netinet/ether.h>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>

using namespace tool;

namespace spare_vhost {
namespace {

constexpr unsigned kEntries = 256;
constexpr size_t kBuffer = 2048, kRing = 16384;
constexpr uint64_t kSecond = 1000000000;
constexpr uint16_t kPort = 9;
/* linux/virtio_net.h, which is no C++ */
constexpr unsigned kMergeable = 15;
constexpr int kHeader = 12;

struct options {
	std::string tap, cgroup, netns, to;
	unsigned batch = 1, rounds = 2000, size = 64, seconds = 0;
	uint64_t gap_us = 0;
	int fifo = 0;
	bool unanswered = false, napi = false;
	unsigned frames = 0;
	std::string mac;
};

class Queue {
public:
	Queue(const std::string &tap, bool napi)
	{
		const size_t size = 3 * kRing + kEntries * kBuffer;

		memory_ = static_cast<char *>(mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0));
		if (memory_ == MAP_FAILED)
			die("mmap");
		desc_ = reinterpret_cast<vring_desc *>(memory_);
		avail_ = reinterpret_cast<vring_avail *>(memory_ + kRing);
		used_ = reinterpret_cast<vring_used *>(memory_ + 2 * kRing);
		open_tap(tap, napi);
		open_vhost(size);
		for (unsigned i = 0; i < kEntries; i++) {
			desc_[i] = {uint64_t(memory_ + 3 * kRing + i * kBuffer), uint32_t(kBuffer), VRING_DESC_F_WRITE, 0};
			post(uint16_t(i));
		}
		/* Its edge is enough: nothing is read. */
		epoll_event edge{EPOLLIN | EPOLLET, {}};
		if (!epoll_ || epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, call_.get(), &edge))
			die("epoll");
		const vhost_vring_file backend{0, tap_.get()};
		if (ioctl(vhost_.get(), VHOST_NET_SET_BACKEND, &backend))
			die("VHOST_NET_SET_BACKEND");
		kick();
	}

	/* Takes what has come; how many packets. */
	unsigned take()
	{
		unsigned n = 0;

		while (last_ != __atomic_load_n(&used_->idx, __ATOMIC_ACQUIRE)) {
			post(uint16_t(used_->ring[last_++ % kEntries].id));
			n++;
		}
		if (n)
			kick();
		return n;
	}
	/* A frame that nobody understands, to this address. */
	void emit(const ether_addr &to, size_t size)
	{
		std::string frame(kHeader + std::max(size, sizeof(ethhdr)), 0);
		ethhdr eth{};

		std::copy(std::begin(to.ether_addr_octet), std::end(to.ether_addr_octet), std::begin(eth.h_dest));
		eth.h_source[0] = 2;
		eth.h_source[5] = 1;
		eth.h_proto = htons(ETH_P_802_EX1);
		std::memcpy(&frame[kHeader], &eth, sizeof(eth));
		if (write(tap_.get(), frame.data(), frame.size()) != ssize_t(frame.size()))
			die("frame");
	}
	/* Until vhost has something, or for a second. */
	void wait()
	{
		epoll_event edge;

		if (epoll_wait(epoll_.get(), &edge, 1, 1000) < 0 && errno != EINTR)
			die("epoll_wait");
	}

private:
	void open_tap(const std::string &name, bool napi)
	{
		ifreq request{};
		const int header = kHeader;

		tap_ = Fd(open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC));
		request.ifr_flags = short(IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | (napi ? IFF_NAPI : 0));
		name.copy(request.ifr_name, IFNAMSIZ - 1);
		if (!tap_ || ioctl(tap_.get(), TUNSETIFF, &request) || ioctl(tap_.get(), TUNSETVNETHDRSZ, &header))
			die("tap {}", name);
		const Fd any(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
		if (!any || ioctl(any.get(), SIOCGIFFLAGS, &request))
			die("flags of {}", name);
		request.ifr_flags |= IFF_UP;
		if (ioctl(any.get(), SIOCSIFFLAGS, &request))
			die("{} up", name);
	}

	void open_vhost(size_t size)
	{
		const auto set = [&](unsigned long what, const void *value, const char *name) {
			if (ioctl(vhost_.get(), what, value))
				die("{}", name);
		};
		alignas(vhost_memory) char table[sizeof(vhost_memory) + sizeof(vhost_memory_region)] = {};
		const vhost_memory_region all{uint64_t(memory_), size, uint64_t(memory_), 0};
		const uint32_t regions = 1;
		uint64_t features;

		vhost_ = Fd(open("/dev/vhost-net", O_RDWR | O_CLOEXEC));
		if (!vhost_)
			die("/dev/vhost-net");
		set(VHOST_SET_OWNER, nullptr, "VHOST_SET_OWNER");
		set(VHOST_GET_FEATURES, &features, "VHOST_GET_FEATURES");
		features &= 1ull << VIRTIO_F_VERSION_1 | 1ull << kMergeable;
		set(VHOST_SET_FEATURES, &features, "VHOST_SET_FEATURES");
		std::memcpy(table, &regions, sizeof(regions));
		std::memcpy(table + sizeof(vhost_memory), &all, sizeof(all));
		set(VHOST_SET_MEM_TABLE, table, "VHOST_SET_MEM_TABLE");
		const vhost_vring_state entries{0, kEntries}, base{0, 0};
		const vhost_vring_addr address{0, 0, uint64_t(desc_), uint64_t(used_), uint64_t(avail_), 0};
		const vhost_vring_file kick{0, kick_.get()}, call{0, call_.get()};
		set(VHOST_SET_VRING_NUM, &entries, "VHOST_SET_VRING_NUM");
		set(VHOST_SET_VRING_BASE, &base, "VHOST_SET_VRING_BASE");
		set(VHOST_SET_VRING_ADDR, &address, "VHOST_SET_VRING_ADDR");
		set(VHOST_SET_VRING_KICK, &kick, "VHOST_SET_VRING_KICK");
		set(VHOST_SET_VRING_CALL, &call, "VHOST_SET_VRING_CALL");
	}

	void post(uint16_t entry)
	{
		avail_->ring[avail_->idx % kEntries] = entry;
		__atomic_store_n(&avail_->idx, uint16_t(avail_->idx + 1), __ATOMIC_RELEASE);
	}

	void kick()
	{
		const uint64_t one = 1;

		std::atomic_thread_fence(std::memory_order_seq_cst);
		if (!(__atomic_load_n(&used_->flags, __ATOMIC_RELAXED) & VRING_USED_F_NO_NOTIFY) && write(kick_.get(), &one, sizeof(one)) != sizeof(one))
			die("kick");
	}

	char *memory_;
	vring_desc *desc_;
	vring_avail *avail_;
	vring_used *used_;
	uint16_t last_ = 0;
	Fd tap_, vhost_, kick_{eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)}, call_{eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)}, epoll_{epoll_create1(EPOLL_CLOEXEC)};
};

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
unsigned receive(Queue &queue, unsigned want)
{
	const uint64_t end = now_ns() + kSecond;
	unsigned got = 0;

	while ((got += queue.take()) < want && now_ns() < end)
		queue.wait();
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
	app.add_flag("--napi", o.napi, "the tap with IFF_NAPI: what is sent into it is served in softirqs");
	if (const auto status = app.parse(argc, argv))
		return *status;
	errno = 0;
	if (!o.cgroup.empty() && !write_file(o.cgroup + "/cgroup.procs", "0"))
		die("{}/cgroup.procs", o.cgroup);
	if (o.unanswered ? o.to.empty() : o.tap.empty())
		die("--tap NAME is wanted, or --unanswered with --to");
	std::optional<Queue> queue;
	if (!o.unanswered)
		queue.emplace(o.tap, o.napi);
	if (o.to.empty()) {
		const ether_addr *to = o.frames ? ether_aton(o.mac.c_str()) : nullptr;
		uint64_t n = 0;

		if (o.frames && !to)
			die("--frames needs --mac");
		for (const uint64_t end = now_ns() + o.seconds * kSecond; now_ns() < end;)
			n += receive(*queue, 1);
		for (unsigned i = 0; i < o.frames; i++)
			queue->emit(*to, o.size);
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
		queue->take();
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
