// SPDX-License-Identifier: GPL-2.0-only
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "util/fd.hpp"
#include "util/result.hpp"

namespace spare {

// Who sends to a guest: a packet socket on one end of a veth, the other end of which is the host's NIC.
class Wire {
 public:
  // On this device of the current network namespace. CAP_NET_RAW is wanted.
  static Result<Wire> open(const std::string& device);

  // What send() sends, from now on: as make_frame() makes it.
  void set_frame(const std::vector<std::uint8_t>& frame);
  Result<void> send() const;

 private:
  explicit Wire(Fd fd) : fd_(std::move(fd)) {}

  Fd fd_;
  std::vector<std::uint8_t> frame_;
};

// ethtool -K DEVICE gro on: a veth then has a NAPI of its own, as NICs have; what comes from a veth with TSO goes past it.
Result<void> receive_by_napi(const std::string& device);
// ethtool -K DEVICE tso on|off
Result<void> set_tso(const std::string& device, bool on);

}  // namespace spare
