// SPDX-License-Identifier: GPL-2.0-only
//
// Frames that a stand-in of a guest sends, or is sent: Ethernet, IPv4, then UDP or TCP, behind the header that tells the kernel how to cut them.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace spare {

using Mac = std::array<std::uint8_t, 6>;

enum class Cut {
  none,  // one UDP datagram
  udp,   // UDP datagrams of `size` bytes each, one packet until a device cuts it (UDP_SEGMENT)
  tcp,   // a TCP segment of `size` bytes, one packet until a device cuts it (TSO); small ones need not be cut
};

struct FrameShape {
  Mac to{}, from{};
  std::uint8_t to_host = 2;  // 198.18.80.2 (RFC 2544: of benchmarks); it comes from .1
  std::size_t size = 64;  // bytes of payload; with Cut::udp of each datagram
  unsigned pieces = 1;    // with Cut::udp: how many
  Cut cut = Cut::none;
};

// Bytes of virtio_net_hdr_v1; a packet socket wants the first ten only (virtio_net_hdr).
inline constexpr std::size_t virtio_header = 12;
inline constexpr std::size_t virtio_header_short = 10;
inline constexpr std::size_t ip_headers = 14 + 20;
// The most that an IP packet with a TCP header can carry.
inline constexpr std::size_t payload_most = 65535 - 20 - 20;

// The virtio header and the frame. Its checksums are for a device to complete, as a guest leaves them. What is larger than an IP packet, or more than
// payload_most, is cut short.
std::vector<std::uint8_t> make_frame(const FrameShape& shape);

}  // namespace spare
