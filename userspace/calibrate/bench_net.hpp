// SPDX-License-Identifier: GPL-2.0-only
#pragma once

#include <memory>

#include "frame.hpp"
#include "util/result.hpp"

struct nl_sock;

namespace spare {

// A network as a host has one, in a network namespace of its own: a bridge, a NIC (one end of a veth, `wire` is the other), and a device to send to.
// It goes with the process. Nothing else of the host sees it.
class BenchNet {
 public:
  static constexpr const char *bridge = "bench", *nic = "nic", *wire = "wire", *sink = "sink";
  static constexpr Mac guest_mac = {2, 0, 0, 0, 0, 0x77}, wire_mac = {2, 0, 0, 0, 0, 0x99};

  // Takes the process out of the network namespace in which it is: no other thread may run yet. CAP_SYS_ADMIN and CAP_NET_ADMIN are wanted.
  static Result<BenchNet> make();

  // The guest's tap, which is up.
  Result<void> attach(const std::string& tap);
  // May what wire sends be larger than a packet of a network? If not it is cut there, and makes a batch.
  Result<void> let_pass_whole(bool whole);

 private:
  struct Close {
    void operator()(nl_sock* socket) const;
  };
  BenchNet() = default;
  Result<void> make_links();
  Result<void> enslave(const char* name);
  Result<void> lives_at(const Mac& mac, const char* device);

  std::unique_ptr<nl_sock, Close> socket_;
};

}  // namespace spare
