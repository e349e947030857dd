// SPDX-License-Identifier: GPL-2.0-only
#include "frame.hpp"

#include <algorithm>
#include <bit>
#include <cstring>

namespace spare {
namespace {

// include/uapi/linux/virtio_net.h, which is no C++; little-endian, as all virtio 1.0.
constexpr std::uint8_t needs_checksum = 1, gso_none = 0, gso_tcp4 = 1, gso_udp = 5;
constexpr std::uint8_t protocol_tcp = 6, protocol_udp = 17;
constexpr std::size_t udp_header = 8, tcp_header = 20, segment = 1448;

void put16(std::uint8_t* at, std::size_t value, bool network_order) {
  at[network_order ? 0 : 1] = static_cast<std::uint8_t>(value >> 8);
  at[network_order ? 1 : 0] = static_cast<std::uint8_t>(value);
}

// One's complement sum of 16-bit words (RFC 1071), folded.
std::uint16_t folded(const std::uint8_t* at, std::size_t bytes, std::uint32_t sum = 0) {
  for (std::size_t i = 0; i + 1 < bytes; i += 2) {
    sum += static_cast<std::uint32_t>(at[i] << 8 | at[i + 1]);
  }
  while (sum >> 16 != 0) {
    sum = (sum & 0xffff) + (sum >> 16);
  }
  return static_cast<std::uint16_t>(sum);
}

void put_ip(std::uint8_t* ip, std::size_t bytes, std::uint8_t protocol, std::uint8_t to_host) {
  ip[0] = 0x45;
  put16(ip + 2, bytes, true);
  ip[6] = 0x40;  // not to be fragmented
  ip[8] = 64;
  ip[9] = protocol;
  const std::uint8_t addresses[] = {198, 18, 80, 1, 198, 18, 80, to_host};
  std::memcpy(ip + 12, addresses, sizeof(addresses));
  put16(ip + 10, static_cast<std::uint16_t>(~folded(ip, 20)), true);
}

}  // namespace

std::vector<std::uint8_t> make_frame(const FrameShape& shape) {
  const bool tcp = shape.cut == Cut::tcp;
  const std::size_t l4 = tcp ? tcp_header : udp_header;
  const std::size_t wanted = shape.size * (shape.cut == Cut::udp ? std::max(shape.pieces, 1U) : 1);
  const std::size_t payload = std::min(wanted, payload_most);
  std::vector<std::uint8_t> bytes(virtio_header + ip_headers + l4 + payload, 'x');
  std::fill_n(bytes.begin(), virtio_header + ip_headers + l4, 0);

  std::uint8_t* const ethernet = &bytes[virtio_header];
  std::copy(shape.to.begin(), shape.to.end(), ethernet);
  std::copy(shape.from.begin(), shape.from.end(), ethernet + 6);
  ethernet[12] = 8;  // ETH_P_IP
  std::uint8_t* const ip = ethernet + 14;
  put_ip(ip, 20 + l4 + payload, tcp ? protocol_tcp : protocol_udp, shape.to_host);
  std::uint8_t* const transport = ip + 20;
  put16(transport, 9, true);  // discard
  put16(transport + 2, 9, true);
  if (tcp) {
    transport[12] = 0x50;
    transport[13] = 0x10;  // ACK
    put16(transport + 14, 0xffff, true);
  } else {
    put16(transport + 4, l4 + payload, true);
  }
  // What the device adds to is the sum of the pseudo header (RFC 768, RFC 9293).
  const std::size_t sum_at = tcp ? 16 : 6;
  put16(transport + sum_at, folded(ip + 12, 8, static_cast<std::uint32_t>(ip[9] + l4 + payload)), true);
  bytes[0] = needs_checksum;
  put16(&bytes[6], ip_headers, false);  // csum_start
  put16(&bytes[8], sum_at, false);      // csum_offset
  const std::size_t each = tcp ? segment : shape.size;
  if (shape.cut != Cut::none && payload > each) {
    bytes[1] = tcp ? gso_tcp4 : gso_udp;
    put16(&bytes[2], ip_headers + l4, false);  // hdr_len
    put16(&bytes[4], each, false);             // gso_size
  }
  static_assert(std::endian::native == std::endian::little && gso_none == 0);
  return bytes;
}

}  // namespace spare
