// SPDX-License-Identifier: GPL-2.0
/*
 * guard - at the taps of VMs whose network work is limited (GUARD-1, GUARD-2): packets are dropped while nothing is left.
 *
 * To the VM at the tap's egress, before its ring and vhost's copy; from it at its ingress, before the bridge, and only where the class holds nobody back. The
 * budget, and whose tap it is, the module knows (kmod/guard.c); what the meter has counted of the VM's softirqs is brought to it here.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>
#include <sched_spare/abi.h>
#include "cost.bpf.h"

char _license[] SEC("license") = "GPL";

extern u64 spare_guard_of(struct __sk_buff *packet) __ksym;
extern bool spare_guard_asks(struct __sk_buff *packet, u32 direction, u64 total_ns) __ksym;
extern bool spare_guard_drops(struct __sk_buff *packet, u32 direction, u32 needed) __ksym;

/* include/uapi/linux/if_ether.h, in.h, icmpv6.h */
#define ETH_P_IP	0x0800
#define ETH_P_ARP	0x0806
#define ETH_P_IPV6	0x86dd
#define IPPROTO_ICMPV6	58
#define ICMPV6_ND_FIRST	133
#define ICMPV6_ND_LAST	137

/* What passes beside that, user space sets: protocol << 16 | port, port 0: all of the protocol. */
#define PASSES 16
const volatile __u32 passes[PASSES];

/* Both ports, in host order; 0: there are none. (IPv4 with options, its later fragments, and IPv6 behind extension headers are not looked at.) */
struct flow {
	u32 protocol, source, dest, icmp;
	bool ack;	/* of TCP, without data: who sends in bulk stands still for long without some of them */
};

static __always_inline bool read_flow(struct __sk_buff *skb, struct flow *f)
{
	u32 head = 20;
	u16 ports[2], fragment, length = 0;
	u8 byte, offset;

	if (skb->protocol == bpf_htons(ETH_P_IPV6)) {
		head = 40;
		if (bpf_skb_load_bytes_relative(skb, 6, &byte, 1, BPF_HDR_START_NET) ||
		    bpf_skb_load_bytes_relative(skb, 4, &length, sizeof(length), BPF_HDR_START_NET))
			return false;
		length = bpf_ntohs(length);
	} else {
		if (skb->protocol != bpf_htons(ETH_P_IP) || bpf_skb_load_bytes_relative(skb, 0, &byte, 1, BPF_HDR_START_NET) || byte != 0x45 ||
		    bpf_skb_load_bytes_relative(skb, 6, &fragment, sizeof(fragment), BPF_HDR_START_NET) || fragment & bpf_htons(0x1fff) ||
		    bpf_skb_load_bytes_relative(skb, 9, &byte, 1, BPF_HDR_START_NET) ||
		    bpf_skb_load_bytes_relative(skb, 2, &length, sizeof(length), BPF_HDR_START_NET))
			return false;
		length = bpf_ntohs(length) - head;
	}
	f->protocol = byte;
	if (bpf_skb_load_bytes_relative(skb, head, ports, sizeof(ports), BPF_HDR_START_NET))
		return true;
	if (byte == IPPROTO_TCP || byte == IPPROTO_UDP) {
		f->source = bpf_ntohs(ports[0]);
		f->dest = bpf_ntohs(ports[1]);
		f->ack = byte == IPPROTO_TCP && !bpf_skb_load_bytes_relative(skb, head + 12, &offset, 1, BPF_HDR_START_NET) &&
			 length == (offset >> 4) * 4;
	} else if (byte == IPPROTO_ICMPV6) {
		f->icmp = bpf_ntohs(ports[0]) >> 8;
	}
	return true;
}

/* Without these a network breaks down: ARP, IPv6's neighbours and routers, DHCP; and what the operator names, and acknowledgements. */
static __noinline u32 needed(struct __sk_buff *skb)
{
	struct flow f = {};
	u32 i, pass, port;

	if (skb->protocol == bpf_htons(ETH_P_ARP))
		return SPARE_NEEDED_NETWORK;
	if (!read_flow(skb, &f))
		return SPARE_NEEDED_NOT;
	if (f.protocol == IPPROTO_ICMPV6 && f.icmp >= ICMPV6_ND_FIRST && f.icmp <= ICMPV6_ND_LAST)
		return SPARE_NEEDED_NETWORK;
	/* (67 and 68, or 546 and 547.) */
	if (f.protocol == IPPROTO_UDP && skb->gso_segs < 2 &&
	    (((f.dest == 67 || f.dest == 68) && (f.source == 67 || f.source == 68)) ||
	     ((f.dest == 546 || f.dest == 547) && (f.source == 546 || f.source == 547))))
		return SPARE_NEEDED_NETWORK;
	if (f.ack)
		return SPARE_NEEDED_OPERATOR;	/* (as many as of what is named) */
	for (i = 0; i < PASSES; i++) {
		pass = passes[i];
		port = pass & 0xffff;
		if (pass && pass >> 16 == f.protocol && (!port || port == f.source || port == f.dest))
			return SPARE_NEEDED_OPERATOR;
	}
	return SPARE_NEEDED_NOT;
}

static __always_inline int look(struct __sk_buff *skb, u32 direction)
{
	u64 id = spare_guard_of(skb), *cost;

	if (!id)
		return TCX_NEXT;
	cost = bpf_map_lookup_elem(&costs, &id);
	if (!spare_guard_asks(skb, direction, cost ? *cost : 0))
		return TCX_NEXT;
	return spare_guard_drops(skb, direction, needed(skb)) ? TCX_DROP : TCX_NEXT;
}

SEC("tcx/egress")
int spare_guard_rx(struct __sk_buff *skb)
{
	return look(skb, SPARE_RX);
}

SEC("tcx/ingress")
int spare_guard_tx(struct __sk_buff *skb)
{
	return look(skb, SPARE_TX);
}
