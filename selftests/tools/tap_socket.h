/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * tap_socket.h - the host's side of a stand-in's tap: an AF_PACKET socket. What it sends goes by dev_queue_xmit(), the way of
 * a bridge, past the module's hook; what it receives is what the stand-in sent.
 */
#pragma once

#include "standin_shm.h"
#include "tool_util.h"

#include <algorithm>
#include <vector>

#include <arpa/inet.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <sys/socket.h>

namespace tool {

class TapSocket {
public:
	TapSocket() = default;
	/* size: bytes of a frame; receives: else incoming frames are not even queued; bypass: send past the queueing discipline */
	TapSocket(const std::string &tap, size_t size, bool receives = false, bool bypass = false) : tap_(tap)
	{
		fd_ = Fd(socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
		if (!fd_)
			die("AF_PACKET");
		to_.sll_family = AF_PACKET;
		to_.sll_protocol = htons(standin::kEtherType);
		to_.sll_ifindex = int(if_nametoindex(tap.c_str()));
		to_.sll_halen = ETH_ALEN;
		if (!to_.sll_ifindex)
			die("no interface {}", tap);
		const int on = bypass;
		if (bypass && setsockopt(fd_.get(), SOL_PACKET, PACKET_QDISC_BYPASS, &on, sizeof(on)))
			die("PACKET_QDISC_BYPASS");
		if (receives && bind(fd_.get(), reinterpret_cast<const sockaddr *>(&to_), sizeof(to_)))
			die("bind to {}", tap);
		frame_.resize(std::max<size_t>(size, sizeof(ethhdr) + sizeof(standin::payload)));
		ethhdr eth{};
		std::copy(std::begin(standin::kMac), std::end(standin::kMac), std::begin(eth.h_dest));
		eth.h_source[0] = 2;
		eth.h_proto = htons(standin::kEtherType);
		std::memcpy(frame_.data(), &eth, sizeof(eth));
	}
	int fd() const { return fd_.get(); }

	/* Sends packet seq; returns when. full: true when the queue had no room for it. */
	uint64_t send(uint32_t seq, bool *full = nullptr)
	{
		const standin::payload p{standin::kMagic, seq, now_ns()};

		std::memcpy(frame_.data() + sizeof(ethhdr), &p, sizeof(p));
		if (full)
			*full = false;
		if (sendto(fd_.get(), frame_.data(), frame_.size(), 0, reinterpret_cast<const sockaddr *>(&to_), sizeof(to_)) < 0) {
			if (!full || (errno != ENOBUFS && errno != EAGAIN))
				die("send to {}", tap_);
			*full = true;
		}
		return p.sent_ns;
	}

	/* Takes one frame that the stand-in has sent; false: there is none. */
	bool receive()
	{
		char buf[ETH_FRAME_LEN];

		if (recv(fd_.get(), buf, sizeof(buf), 0) >= 0)
			return true;
		if (errno != EAGAIN && errno != EINTR)
			die("receive from {}", tap_);
		return false;
	}

private:
	std::string tap_;
	Fd fd_;
	sockaddr_ll to_{};
	std::vector<char> frame_;
};

inline uint64_t own_cpu_ns()
{
	timespec ts;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return uint64_t(ts.tv_sec) * 1000000000u + uint64_t(ts.tv_nsec);
}

/*
 * Packet i at start + i / rate, by a hard timer; with burst, at the instant of the first of so many. One that the tap's full queue drops has been sent: the
 * hook has seen it. Prints what rate came about and what it cost.
 */
inline int stream(TapSocket &tap, uint64_t rate, uint64_t seconds, uint64_t burst)
{
	constexpr uint64_t second = 1000000000;
	const uint64_t n = rate * seconds, start = now_ns() + second / 1000, cpu = own_cpu_ns();
	uint64_t dropped = 0, late_max = 0, last = 0;

	for (uint64_t i = 0; i < n; i++) {
		const uint64_t due = start + i / burst * burst * second / rate;
		bool full;

		if (i % burst == 0)
			sleep_until(due);
		last = tap.send(uint32_t(i % standin::kPacketsMax), &full);
		late_max = std::max(late_max, last - due);
		dropped += full;
	}
	/* The last burst begins one distance before the end. */
	const uint64_t took = last - start + burst * second / rate, used = own_cpu_ns() - cpu, came = n * second / took;
	fmt::print("sent {}\ndropped {}\nrate {}\nrate.permille {}\nlate.max_ns {}\ncpu_ns {}\ncpu_ppm {}\ncpu_ns_per_packet {}\n", n, dropped, came,
		   came * 1000 / rate, late_max, used, used * 1000 / (took / 1000), used / n);
	return 0;
}

} // namespace tool
