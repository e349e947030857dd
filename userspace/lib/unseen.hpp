// SPDX-License-Identifier: GPL-2.0-only
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "paths.hpp"

namespace spare {

// What a tap or macvtap has carried to its VM; 0: there is no such device.
std::uint64_t packets_to_vm(const Roots& roots, const std::string& tap);

// Packets that go to a VM's taps although its rx_packets stays 0: they take a way that the module's hook does not see, and wake nobody. A few
// that went there before spared looked are no sign.
class Unseen {
 public:
  static constexpr std::uint64_t enough = 16;

  // How many since the first look, when there are enough to tell; else 0. vm: path and taps; sent: packets_to_vm() of these together, seen: its rx_packets.
  std::uint64_t look(const std::string& vm, std::uint64_t sent, std::uint64_t seen) {
    const auto before = before_.find(vm);
    const bool anew = seen != 0 || before == before_.end() || sent < before->second;
    const std::uint64_t first = now_[vm] = anew ? sent : before->second;
    return sent - first >= enough ? sent - first : 0;
  }

  void end_of_pass() {
    before_.swap(now_);
    now_.clear();
  }

 private:
  std::map<std::string, std::uint64_t> before_, now_;  // sent at the first look
};

}  // namespace spare
