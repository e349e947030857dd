// SPDX-License-Identifier: GPL-2.0-only
/*
 * bill.h against a model that writes down who had each stretch of time and, at the end, goes through the whole record: nothing is
 * kept from event to event but the record itself. Also: every nanosecond is billed once (ACC-1), and cases that one can check by hand.
 */
#include "oracle.h"

#include <algorithm>
#include <map>
#include <vector>

#include <sched_spare/bill.h>

#include <catch2/catch_test_macros.hpp>

using oracle::Random;
using oracle::wide;
using oracle::wrap;

namespace bill_test {

std::map<uint32_t, uint64_t> *billed, *counted;

const uint32_t net = spare_account(0, SPARE_HOST_NET), other = spare_account(0, SPARE_HOST_SOFTIRQ), irqs = spare_account(0, SPARE_HOST_IRQ);

} // namespace bill_test

static void spare_bill_add(struct spare_bill *, __u32 account, __u64 ns, __u32 packets)
{
	(*bill_test::billed)[account] += ns;
	if (packets)
		(*bill_test::counted)[account] += packets;
}

namespace bill_test {

enum class what { change, soft_in, soft_out, irq_in, irq_out, packet, tap, guest_in, guest_out };

struct event {
	wide t;
	what kind;
	uint32_t account;	/* of the thread, of nobody, of the interrupt; a VM */
	bool polls;
	uint64_t packet, device;
};

using amounts = std::map<uint32_t, uint64_t>;

/* Level by level, each time over the whole record. */
class Model {
public:
	explicit Model(std::vector<event> record) : record_(std::move(record)) {}

	amounts bill()
	{
		amounts sum;

		/* Hard interrupts, and the record without them on a clock without them. */
		wide hidden = 0, from = 0;
		unsigned depth = 0;
		std::vector<event> rest;
		for (event e : record_) {
			if (e.kind == what::irq_in) {
				if (!depth++)
					from = e.t;
			} else if (e.kind == what::irq_out) {
				if (!--depth) {
					sum[e.account] += uint64_t(e.t - from);
					hidden += e.t - from;
				}
			} else {
				e.t -= hidden;
				rest.push_back(e);
			}
		}
		/* Who has the CPU between two events that may change that; batches are put aside. */
		uint32_t thread = rest.front().account;
		bool polls = rest.front().polls, soft = false;
		std::vector<event> batch;
		wide begun = rest.front().t, batch_begun = begun;
		uint32_t nobody = net;
		for (const event &e : rest) {
			switch (e.kind) {
			case what::packet:
			case what::tap:
				if (soft || polls)
					batch.push_back(e);
				break;
			case what::guest_out:
				if (!soft) {
					sum[thread] += uint64_t(e.t - begun);
					begun = e.t;
					thread = spare_account(spare_account_vm(thread), SPARE_KIND_VCPU);
				}
				break;
			default:
				if (soft || polls)
					split(batch, batch_begun, e.t, nobody, sum);
				else
					sum[thread] += uint64_t(e.t - begun);
				batch.clear();
				begun = batch_begun = e.t;
				soft = e.kind == what::soft_in;
				nobody = soft ? e.account : net;
				if (e.kind == what::change) {
					thread = e.account;
					polls = e.polls;
				} else if (e.kind == what::guest_in) {
					thread = spare_account(e.account, SPARE_KIND_GUEST);
				}
				break;
			}
		}
		return sum;
	}

	amounts packets;

private:
	/* Who had which packet, and the stretch of time before that; then what is common. */
	void split(const std::vector<event> &batch, wide from, wide to, uint32_t nobody, amounts &sum)
	{
		struct stretch {
			uint32_t account;
			uint64_t ns;
		};
		std::vector<stretch> all;
		const wide begin = from;
		uint64_t driver = 0;
		const event *open = nullptr;
		uint32_t owner = 0;

		const auto ends = [&](uint32_t account, wide until) {
			all.push_back({account, uint64_t(until - from)});
			from = until;
			if (spare_account_vm(account))
				packets[account]++;
			open = nullptr;
		};
		const auto undelivered = [&] { return owner ? spare_account(owner, SPARE_KIND_TX) : nobody; };
		for (const event &e : batch) {
			if (e.kind == what::tap) {
				ends(!owner && e.account ? spare_account(e.account, SPARE_KIND_RX) : undelivered(), e.t);
				continue;
			}
			if (open && open->packet == e.packet && open->device != e.device)
				continue;
			if (open)
				ends(undelivered(), e.t);
			else if (all.empty()) {
				driver = uint64_t(e.t - from);
				from = e.t;
			}
			open = &e;
			owner = e.account;
		}
		if (open)
			ends(undelivered(), to);
		if (all.empty()) {
			sum[nobody] += uint64_t(to - begin);
			return;
		}
		/* The first one's end is not looked at where there was one packet before. */
		const bool untimed = single_ && batch.front().kind == what::tap;
		single_ = all.size() == 1;
		if (untimed && !single_) {
			all[0].ns += all[1].ns;
			all[1].ns = 0;
		}
		/* Who are told apart: the first so many. Of the others only their own packets are known. */
		std::vector<uint32_t> order;
		for (const stretch &s : all)
			if (std::find(order.begin(), order.end(), s.account) == order.end())
				order.push_back(s.account);
		if (order.size() == 1) {
			sum[order[0]] += uint64_t(to - begin);	/* nothing to divide */
			return;
		}
		uint64_t common = driver + uint64_t(to - from);
		if (batch.front().kind == what::tap) {
			/* The first packet and the driver's beginning are one stretch: the packet's is the mean of its payer's others, or of all. */
			uint64_t ns = 0, n = 0;
			const bool others = std::count_if(all.begin(), all.end(), [&](const stretch &s) { return s.account == all[0].account; }) > 1;
			for (size_t i = 1; i < all.size(); i++) {
				if (!others || all[i].account == all[0].account) {
					ns += all[i].ns;
					n++;
				}
			}
			const uint64_t own = std::min(ns / n, all[0].ns);
			common += all[0].ns - own;
			all[0].ns = own;
		}
		uint64_t left = common;
		for (const stretch &s : all) {
			const bool known = std::find(order.begin(), order.end(), s.account) - order.begin() < SPARE_BILL_PAYERS;
			const uint64_t share = known ? common / all.size() : 0;

			sum[s.account] += s.ns + share;
			left -= share;
		}
		sum[nobody] += left;
	}

	std::vector<event> record_;
	bool single_ = false;
};

/* What BPF does with each event: it looks at the clock, and at irq_total_ns, and asks whether the event counts. */
void apply(spare_bill &b, const event &e)
{
	const uint64_t clock = wrap(e.t), now = spare_bill_time(b.irq_total_ns, clock);

	switch (e.kind) {
	case what::change: spare_bill_switch(&b, e.account, e.polls, now); break;
	case what::soft_in: spare_bill_softirq_enter(&b, e.account, now); break;
	case what::soft_out: spare_bill_softirq_exit(&b, now); break;
	case what::irq_in: spare_bill_irq_enter(&b, clock); break;
	case what::irq_out: spare_bill_irq_exit(&b, e.account, clock); break;
	case what::packet:
		if (spare_bill_serves(&b) && !spare_bill_again(&b, e.packet, e.device))
			spare_bill_packet(&b, e.packet, e.device, e.account, spare_bill_packet_timed(&b) ? now : 0xdead);
		break;
	case what::tap:
		if (spare_bill_serves(&b) && spare_bill_tap_timed(&b))
			spare_bill_tap(&b, e.account, now);
		else if (spare_bill_serves(&b))
			spare_bill_tap_untimed(&b, e.account);
		break;
	case what::guest_in: spare_bill_guest_enter(&b, e.account, now); break;
	case what::guest_out: spare_bill_guest_exit(&b, now); break;
	}
}

uint32_t random_thread(Random &r, bool &polls)
{
	polls = r.one_in(12);
	if (polls)
		return net;
	return r.one_in(3) ? spare_account(0, uint32_t(r.one_in(2) ? SPARE_HOST_IDLE : SPARE_HOST_TASK))
			   : spare_account(uint32_t(r.in(1, 4)), uint32_t(r.in(SPARE_KIND_VCPU, SPARE_KIND_KTHREAD)));
}

/* A CPU's life as the kernel's order of events allows it. vms: how many a batch may mix; entries: packets are seen to enter. */
std::vector<event> random_life(Random &r, wide t, unsigned events, unsigned vms, bool entries)
{
	std::vector<event> record;
	bool soft = false, polls = false, guest = false;
	uint32_t thread = random_thread(r, polls), depth = 0;
	uint64_t packet = 0;

	record.push_back({t, what::change, thread, polls, 0, 0});
	while (record.size() < events) {
		event e{t += wide(r.in(1, r.one_in(10) ? 5000000 : 3000)), what::change, 0, false, 0, 0};

		if (depth) {
			const bool deeper = depth < 3 && r.one_in(4);

			e.kind = deeper ? what::irq_in : what::irq_out;
			e.account = r.one_in(4) ? spare_account(uint32_t(r.in(1, 4)), SPARE_KIND_IRQ) : irqs;
			depth += deeper ? 1 : -1u;
		} else if (r.one_in(8)) {
			e.kind = what::irq_in;
			depth = 1;
		} else if (soft || (polls && !r.one_in(6))) {
			const auto pick = r.in(0, 9);

			if (soft && pick < 2) {
				e.kind = what::soft_out;
				soft = false;
			} else if (pick < 6 && entries) {
				e.kind = what::packet;
				e.account = r.one_in(6) ? uint32_t(r.in(1, vms)) : 0;
				e.packet = packet += r.one_in(3) ? 0 : 1;
				e.device = uint32_t(r.in(1, 2));
			} else {
				e.kind = what::tap;
				e.account = r.one_in(6) ? 0 : uint32_t(r.in(1, vms));
			}
		} else if (r.one_in(3)) {
			e.kind = what::soft_in;
			e.account = r.one_in(3) ? other : net;
			soft = true;
		} else if (guest && r.one_in(2)) {
			e.kind = what::guest_out;
			guest = false;
		} else if (!guest && spare_account_vm(thread) && spare_account_kind(thread) == SPARE_KIND_VCPU && r.one_in(2)) {
			e.kind = what::guest_in;
			e.account = spare_account_vm(thread);
			guest = true;
		} else if (r.one_in(9)) {
			/* in a thread: nobody's business */
			e.kind = r.one_in(2) ? what::packet : what::tap;
			e.account = 1;
		} else {
			e.account = thread = random_thread(r, polls);
			e.polls = polls;
			guest = false;
		}
		record.push_back(e);
	}
	while (depth--)
		record.push_back({t += 10, what::irq_out, irqs, false, 0, 0});
	record.push_back({t += 10, what::change, spare_account(0, SPARE_HOST_IDLE), false, 0, 0});
	return record;
}

uint64_t total(const amounts &bill)
{
	uint64_t sum = 0;

	for (const auto &[account, ns] : bill)
		sum += ns;
	return sum;
}

amounts without_zeroes(amounts bill)
{
	std::erase_if(bill, [](const auto &entry) { return entry.second == 0; });
	return bill;
}

/* Feeds a record that begins with the first thread. */
amounts play(const std::vector<event> &record, amounts &packets)
{
	amounts sum;
	spare_bill b{};

	billed = &sum;
	counted = &packets;
	b.serves = record.front().polls ? SPARE_BILL_POLLS : 0;
	spare_bill_batch_begin(&b, net);
	spare_bill_start(&b, record.front().account, wrap(record.front().t));
	for (size_t i = 1; i < record.size(); i++) {
		apply(b, record[i]);
		REQUIRE(b.begun_ns == b.done_ns);
	}
	return sum;
}


TEST_CASE("ACC-1 ACC-2 ACC-4: the bill of a random life equals the model's, and every nanosecond is billed once")
{
	Random r(1);

	for (unsigned life = 0; life < 600; life++) {
		/* now and then more payers in a batch than it can tell apart */
		const auto record = random_life(r, oracle::start_time(life), 400, life % 5 ? 4 : 40, life % 2);
		Model model(record);
		amounts packets;
		const amounts bill = play(record, packets);

		REQUIRE(without_zeroes(bill) == without_zeroes(model.bill()));
		REQUIRE(packets == model.packets);
		REQUIRE(total(bill) == uint64_t(record.back().t - record.front().t));
	}
}

TEST_CASE("ACC-1: events in any order, also those that cannot be, leave no nanosecond out and bill none twice")
{
	Random r(2);

	for (unsigned life = 0; life < 600; life++) {
		amounts bill, packets;
		spare_bill b{};
		const wide begin = oracle::start_time(life);
		wide t = begin;

		billed = &bill;
		counted = &packets;
		spare_bill_start(&b, spare_account(0, SPARE_HOST_TASK), wrap(t));
		for (unsigned i = 0; i < 300; i++) {
			t += wide(r.in(0, 4000));
			apply(b, {t, what(r.in(0, 8)), uint32_t(r.in(0, 3)) << SPARE_ACCOUNT_BITS | uint32_t(r.in(0, 6)), r.one_in(5), r.in(1, 3), uint32_t(r.in(1, 2))});
		}
		while (b.irq_depth)
			apply(b, {t, what::irq_out, irqs, false, 0, 0});
		apply(b, {t, what::change, 0, false, 0, 0});
		apply(b, {t, what::change, 0, false, 0, 0});	/* also the end of a batch of its own */
		REQUIRE(total(bill) == uint64_t(t - begin));
	}
}

TEST_CASE("ACC-2: each packet has its own way, the driver's beginning and end are split by packets")
{
	amounts packets;
	const auto bill = play({{0 + 1000, what::change, spare_account(7, SPARE_KIND_VHOST), false, 0, 0},
				{1100, what::soft_in, net, false, 0, 0},
				{1400, what::packet, 0, false, 1, 1},		/* 300 of the driver */
				{1450, what::tap, 1, false, 0, 0},		/* 50 of VM 1 */
				{1470, what::packet, 0, false, 2, 1},
				{1570, what::tap, 2, false, 0, 0},		/* 120 of VM 2, its driver's part included */
				{1580, what::packet, 0, false, 3, 1},
				{1590, what::packet, 0, false, 3, 9},		/* the bridge's own device: the same packet */
				{1600, what::packet, 0, false, 4, 1},		/* 30 of the host */
				{1650, what::tap, 1, false, 0, 0},		/* 50 of VM 1 */
				{1750, what::soft_out, 0, false, 0, 0},		/* 100 of the driver: 400 for 4 packets */
				{1800, what::change, spare_account(0, SPARE_HOST_IDLE), false, 0, 0}},
			       packets);

	REQUIRE(without_zeroes(bill) == amounts{{spare_account(7, SPARE_KIND_VHOST), 100 + 50},
						{spare_account(1, SPARE_KIND_RX), 100 + 200},
						{spare_account(2, SPARE_KIND_RX), 120 + 100},
						{net, 30 + 100}});
	REQUIRE(packets == amounts{{spare_account(1, SPARE_KIND_RX), 2}, {spare_account(2, SPARE_KIND_RX), 1}});
}

TEST_CASE("ACC-2: where no packet is seen to enter, the first one's time is told by the others', the rest of it is the driver's")
{
	amounts packets;
	const std::vector<event> mixed = {{0 + 1000, what::change, spare_account(0, SPARE_HOST_IDLE), false, 0, 0},
					  {1000, what::soft_in, net, false, 0, 0},
					  {1400, what::tap, 1, false, 0, 0},	/* 400, of which 60 as its other one */
					  {1460, what::tap, 1, false, 0, 0},	/* 60 of VM 1 */
					  {1520, what::tap, 2, false, 0, 0},	/* 60 of VM 2 */
					  {1600, what::tap, 0, false, 0, 0},	/* 80 of the host */
					  {1660, what::soft_out, 0, false, 0, 0},	/* 340 + 60: 400 for 4 packets */
					  {1660, what::change, spare_account(0, SPARE_HOST_IDLE), false, 0, 0}};

	REQUIRE(without_zeroes(play(mixed, packets)) == amounts{{spare_account(1, SPARE_KIND_RX), 120 + 200}, {spare_account(2, SPARE_KIND_RX), 60 + 100}, {net, 80 + 100}});
	REQUIRE(packets == amounts{{spare_account(1, SPARE_KIND_RX), 2}, {spare_account(2, SPARE_KIND_RX), 1}});
}

TEST_CASE("ACC-4: a packet from a VM's tap is its sender's, to another VM or elsewhere; one of the host is the host's")
{
	amounts packets;
	const auto bill = play({{1000, what::change, spare_account(0, SPARE_HOST_IDLE), false, 0, 0},
				{2000, what::soft_in, net, false, 0, 0},
				{2000, what::packet, 3, false, 1, 5},	/* of VM 3, to VM 4 */
				{2100, what::tap, 4, false, 0, 0},
				{2100, what::packet, 3, false, 2, 5},	/* of VM 3, to a NIC */
				{2150, what::packet, 0, false, 3, 1},	/* to the host */
				{2190, what::soft_out, 0, false, 0, 0},
				{2200, what::change, spare_account(0, SPARE_HOST_IDLE), false, 0, 0}},
			       packets);

	REQUIRE(without_zeroes(bill) == amounts{{spare_account(0, SPARE_HOST_IDLE), 1010}, {spare_account(3, SPARE_KIND_TX), 150}, {net, 40}});
	REQUIRE(packets == amounts{{spare_account(3, SPARE_KIND_TX), 2}});
}

TEST_CASE("ACC-1: an exit from the guest that is noted late is not paid before the softirq that came between")
{
	amounts bill, packets;
	spare_bill b{};

	billed = &bill;
	counted = &packets;
	spare_bill_start(&b, spare_account(1, SPARE_KIND_VCPU), 100);
	spare_bill_guest_enter(&b, 1, 200);
	/* The exit was at 300; before it could be noted a softirq came. */
	spare_bill_softirq_enter(&b, net, 310);
	spare_bill_softirq_exit(&b, 350);
	spare_bill_guest_exit(&b, 300);
	spare_bill_switch(&b, spare_account(0, SPARE_HOST_IDLE), 0, 400);
	REQUIRE(without_zeroes(bill) == amounts{{spare_account(1, SPARE_KIND_VCPU), 100 + 50}, {spare_account(1, SPARE_KIND_GUEST), 110}, {net, 40}});
}

} // namespace bill_test
