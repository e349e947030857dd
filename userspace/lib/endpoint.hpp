// SPDX-License-Identifier: GPL-2.0-only
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "util/fd.hpp"
#include "util/result.hpp"

namespace spare {

// Where processes of this host connect to: a Unix socket, or a port of a loopback address.
struct Endpoint {
  std::string path;     // of the Unix socket; empty: a port
  std::string address;  // of the port: an IPv4 or IPv6 address
  std::uint16_t port = 0;

  [[nodiscard]] std::string text() const;
  bool operator==(const Endpoint&) const = default;
};

// "/run/NAME", "127.0.0.1:PORT", "[::1]:PORT". EINVAL: anything else; addresses that other hosts reach are refused.
Result<Endpoint> parse_endpoint(std::string_view text);

// A socket that listens there, non-blocking. A Unix socket that nobody holds any more is replaced; who may connect to it is root, and this group
// (empty: nobody else).
Result<Fd> listen_at(const Endpoint& endpoint, const std::string& group);

}  // namespace spare
