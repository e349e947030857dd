/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * dilation_page.h - the page that the real-time host's QEMU (dilation.cpp) and programs inside that host (speed.cpp) share: the
 * host sees it as BAR 2 of an ivshmem device, QEMU as the file $SPARE_DILATION_PAGE.
 */
#pragma once

#include <atomic>
#include <cstdint>

namespace dilation {

constexpr uint64_t magic = 0x6e6f6974616c6964; /* "dilation" */
constexpr uint32_t min_milli = 1000, max_milli = 10000;
constexpr std::size_t page_bytes = 4096;

struct Page {
	uint64_t magic;
	std::atomic<uint32_t> k_milli; /* thousandths: a second of the host takes k_milli / 1000 s outside; written by either side */
};
static_assert(std::atomic<uint32_t>::is_always_lock_free);

} // namespace dilation
