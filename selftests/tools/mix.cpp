// SPDX-License-Identifier: GPL-2.0-only
/*
 * spare-mix - packets of several flows in one softirq: held back in a plug qdisc, then let go together.
 *
 * A burst is --burst packets, of flows by turns as in --pattern (AAAB), or each by chance with the same shares. A flow is
 *   LETTER=MAC,HOST,SIZE    to this address, 198.18.80.HOST, SIZE bytes of payload
 * --listen takes what comes to port 9 of this host's own address 198.18.80.HOST, so that it is not refused.
 * With --only the others' packets are left out, at the same times: what a flow takes alone.
 * Figures: sent.LETTER, packets of each flow; packets; bursts, of them those that were not empty.
 */
#include "calibrate/frame.hpp"
#include "calibrate/wire.hpp"
#include "cli/options.hpp"
#include "tool_util.h"
#include "tools.h"

#include <algorithm>
#include <map>
#include <random>
#include <string>
#include <vector>

#include <arpa/inet.h>
#include <linux/netlink.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netinet/ether.h>
#include <sched.h>
#include <sys/socket.h>

using namespace tool;

namespace spare_mix {
namespace {

struct options {
	std::string device, netns, nic, pattern, only, listen;
	std::vector<std::string> flows;
	bool random = false;
	unsigned burst = 8, bursts = 200;
	uint64_t gap_us = 2000;
};

/* tc qdisc add DEVICE root plug, and what it is told from then on. */
class Plug {
public:
	explicit Plug(const std::string &device) : index_(int(if_nametoindex(device.c_str()))), fd_(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE))
	{
		if (!index_ || !fd_)
			die("device {}", device);
		tell(NLM_F_CREATE | NLM_F_REPLACE, {TCQ_PLUG_LIMIT, 1 << 20});
	}
	/* All that has been sent since the last time goes, at once. */
	void release()
	{
		tell(0, {TCQ_PLUG_BUFFER, 0});
		tell(0, {TCQ_PLUG_RELEASE_ONE, 0});
	}

private:
	void tell(int flags, tc_plug_qopt what)
	{
		struct {
			nlmsghdr header;
			tcmsg message;
			rtattr kind;
			char name[8];
			rtattr rest;
			tc_plug_qopt option;
		} request{};
		char answer[256];

		request.header = {sizeof(request), RTM_NEWQDISC, uint16_t(NLM_F_REQUEST | NLM_F_ACK | flags), 0, 0};
		request.message.tcm_ifindex = index_;
		request.message.tcm_parent = TC_H_ROOT;
		request.message.tcm_handle = 1 << 16;
		request.kind = {uint16_t(RTA_LENGTH(5)), TCA_KIND};
		std::memcpy(request.name, "plug", 5);
		request.rest = {uint16_t(RTA_LENGTH(sizeof(what))), TCA_OPTIONS};
		request.option = what;
		if (send(fd_.get(), &request, sizeof(request), 0) != sizeof(request))
			die("netlink");
		const ssize_t got = recv(fd_.get(), answer, sizeof(answer), 0);
		const auto *error = reinterpret_cast<const nlmsgerr *>(NLMSG_DATA(answer));
		errno = got > 0 ? -error->error : errno;
		if (got <= 0 || error->error)
			die("qdisc plug");
	}

	int index_;
	Fd fd_;
};

spare::Wire flow_of(const std::string &text, const std::string &device, char *name)
{
	char mac[18] = {};
	unsigned host = 0, size = 0;
	auto wire = spare::Wire::open(device);
	spare::FrameShape shape;

	errno = 0;
	if (!wire)
		die("{}", wire.error().text);
	const ether_addr *address = std::sscanf(text.c_str(), "%c=%17[0-9a-f:],%u,%u", name, mac, &host, &size) == 4 ? ether_aton(mac) : nullptr;
	if (!address)
		die("'{}' is no flow: LETTER=MAC,HOST,SIZE", text);
	std::copy(std::begin(address->ether_addr_octet), std::end(address->ether_addr_octet), shape.to.begin());
	shape.from = {2, 0, 0, 0, 0, 0x99};
	shape.to_host = uint8_t(host);
	shape.size = size;
	wire->set_frame(spare::make_frame(shape));
	return std::move(*wire);
}

Fd listener(const std::string &address)
{
	Fd fd(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
	sockaddr_in at{};

	at.sin_family = AF_INET;
	at.sin_port = htons(9);
	if (!fd || inet_pton(AF_INET, address.c_str(), &at.sin_addr) != 1 || bind(fd.get(), reinterpret_cast<const sockaddr *>(&at), sizeof(at)))
		die("listening at {}", address);
	return fd;
}

} // namespace

int run(int argc, char **argv)
{
	cli::App app("packets of several flows in one softirq");
	options o;

	app.add_option("--device", o.device, "to send by")->required();
	app.add_option("--netns", o.netns, "network namespace of it");
	app.add_option("--nic", o.nic, "the host's end of that: it gets a NAPI of its own, as NICs have, and GRO");
	app.add_option("--flow", o.flows, "LETTER=MAC,HOST,SIZE")->required();
	app.add_option("--pattern", o.pattern, "letters of flows")->required();
	app.add_option("--only", o.only, "letters of the flows that are sent");
	app.add_flag("--random", o.random, "by chance, with the pattern's shares");
	app.add_option("--burst", o.burst, "packets of a burst")->capture_default_str();
	app.add_option("--bursts", o.bursts, "how many")->capture_default_str();
	app.add_option("--gap-us", o.gap_us, "from burst to burst")->capture_default_str();
	app.add_option("--listen", o.listen, "take what comes to this address of this host");
	if (const auto status = app.parse(argc, argv))
		return *status;
	errno = 0;
	if (!o.nic.empty())
		if (const auto on = spare::receive_by_napi(o.nic); !on)
			die("{}", on.error().text);
	const Fd ears = o.listen.empty() ? Fd() : listener(o.listen);
	const Fd there(o.netns.empty() ? -1 : open(("/run/netns/" + o.netns).c_str(), O_RDONLY | O_CLOEXEC));
	if (!o.netns.empty() && (!there || setns(there.get(), CLONE_NEWNET)))
		die("network namespace {}", o.netns);
	if (const auto off = spare::set_tso(o.device, false); !off)
		die("{}", off.error().text);
	std::map<char, spare::Wire> flows;
	std::map<char, unsigned> sent;
	for (const std::string &text : o.flows) {
		char name = 0;
		auto wire = flow_of(text, o.device, &name);
		flows.emplace(name, std::move(wire));
	}
	for (const char name : o.pattern)
		if (!flows.contains(name))
			die("the pattern's {} is no flow", name);
	Plug plug(o.device);
	std::minstd_rand chance(1);
	const uint64_t start = now_ns() + o.gap_us * 1000;
	unsigned bursts = 0, packets = 0;
	for (unsigned i = 0, n = 0; i < o.bursts; i++) {
		const unsigned before = packets;

		sleep_until(start + i * o.gap_us * 1000);
		for (unsigned k = 0; k < o.burst; k++, n++) {
			const char name = o.pattern[(o.random ? chance() / 7 : n) % o.pattern.size()];
			if (!o.only.empty() && o.only.find(name) == std::string::npos)
				continue;
			if (const auto did = flows.at(name).send(); !did)
				die("{}", did.error().text);
			sent[name]++;
			packets++;
		}
		if (packets == before)
			continue;
		plug.release();
		bursts++;
		for (char bytes[2048]; ears && recv(ears.get(), bytes, sizeof(bytes), 0) >= 0;)
			;
	}
	for (const auto &[name, n] : sent)
		fmt::print("sent.{} {}\n", name, n);
	fmt::print("packets {}\nbursts {}\n", packets, bursts);
	return 0;
}

} // namespace spare_mix
