// SPDX-License-Identifier: GPL-2.0-only
#include "wire.hpp"

#include <arpa/inet.h>
#include <linux/ethtool.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <algorithm>

#include "frame.hpp"

namespace spare {
namespace {

Result<void> set_feature(const std::string& device, std::uint32_t command, bool on, const char* name) {
  ifreq request{};
  ethtool_value value{command, on};
  device.copy(request.ifr_name, IFNAMSIZ - 1);
  request.ifr_data = reinterpret_cast<char*>(&value);
  const Fd any(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!any || ::ioctl(any.get(), SIOCETHTOOL, &request) != 0) {
    return errno_error(std::string(name) + " of " + device);
  }
  return {};
}

}  // namespace

Result<Wire> Wire::open(const std::string& device) {
  sockaddr_ll at{};
  const int on = 1;
  at.sll_family = AF_PACKET;
  at.sll_ifindex = static_cast<int>(::if_nametoindex(device.c_str()));
  if (at.sll_ifindex == 0) {
    return errno_error("device " + device);
  }
  // Protocol 0: nothing is received.
  Fd fd(::socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0));
  if (!fd || ::setsockopt(fd.get(), SOL_PACKET, PACKET_VNET_HDR, &on, sizeof(on)) != 0 ||
      ::bind(fd.get(), reinterpret_cast<const sockaddr*>(&at), sizeof(at)) != 0) {
    return errno_error("packet socket on " + device);
  }
  return Wire(std::move(fd));
}

void Wire::set_frame(const std::vector<std::uint8_t>& frame) {
  // (num_buffers, the last field of the header, is not there.)
  frame_.assign(frame.begin() + (virtio_header - virtio_header_short), frame.end());
  std::copy_n(frame.begin(), virtio_header_short, frame_.begin());
}

Result<void> Wire::send() const {
  if (::send(fd_.get(), frame_.data(), frame_.size(), 0) != static_cast<ssize_t>(frame_.size())) {
    return errno_error("sending");
  }
  return {};
}

Result<void> receive_by_napi(const std::string& device) { return set_feature(device, ETHTOOL_SGRO, true, "GRO"); }

Result<void> set_tso(const std::string& device, bool on) { return set_feature(device, ETHTOOL_STSO, on, "TSO"); }

}  // namespace spare
