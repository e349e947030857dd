/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * standin_shm.h - what spare-standin publishes and spare-pktgen reads, in one shared mapping, and the packet they exchange.
 *
 * All times are nanoseconds of CLOCK_MONOTONIC. A record is written by one thread; 0 means "not yet".
 */
#pragma once

#include <array>
#include <atomic>
#include <cstdint>

namespace standin {

constexpr uint32_t kMagic = 0x53504152; /* "SPAR" */
constexpr uint32_t kVersion = 3;
constexpr uint8_t kMac[6] = {2, 0, 0, 0, 0, 2}; /* of a NIC, where that matters (macvtap) */
constexpr uint16_t kEtherType = 0x88b5; /* IEEE 802 local experimental 1 */
constexpr uint32_t kPacketsMax = 1 << 14;
constexpr uint32_t kGapsMax = 1 << 16;
constexpr uint32_t kVcpusMax = 4096;

/* What a test packet carries after its Ethernet header; byte order of the host, it never leaves it. */
struct payload {
	uint32_t magic;
	uint32_t seq;
	uint64_t sent_ns;
};

/* One packet, at index seq. */
struct packet_record {
	std::atomic<uint64_t> picked_ns;  /* the "vhost" thread had read it from the tap */
	std::atomic<uint64_t> seen_ns;    /* the "vCPU" thread had found it in its ring: first service is complete (SPARE-4) */
	std::atomic<uint64_t> replied_ns; /* the "vhost" thread had written the reply to the tap */
};

/* Time that the first vCPU did not run, as it noticed itself. */
struct gap_record {
	uint64_t from_ns;
	uint64_t to_ns;
};

/* One vCPU thread's own view of its progress. */
struct vcpu_record {
	std::atomic<uint64_t> loops;	  /* burn loops since the start */
	std::atomic<uint64_t> last_ns;	  /* when it last looked at the clock */
	std::atomic<uint64_t> gap_max_ns; /* longest time between two looks */
};

struct shm {
	uint32_t magic;
	uint32_t version;
	uint32_t pid;
	uint32_t vcpus;
	std::atomic<uint32_t> ready;
	std::atomic<uint32_t> go;	  /* --hold: a futex; the threads begin when it is 1 */
	std::atomic<uint64_t> go_ns;	  /* when that was */
	std::atomic<uint32_t> duplicates; /* packets whose seq had been picked up before */
	std::atomic<uint64_t> foreign;	  /* frames on the tap that are not ours */
	std::atomic<uint64_t> loops;	  /* burn loops of all vCPUs, updated at each gap and at the end */
	std::atomic<uint64_t> provoked;	  /* packets that vCPUs sent of their own accord */
	std::atomic<uint64_t> gaps;	  /* gap records written; record i is gap[i % kGapsMax] */
	std::array<vcpu_record, kVcpusMax> vcpu;
	std::array<gap_record, kGapsMax> gap;
	std::array<packet_record, kPacketsMax> packet;
};

} // namespace standin
