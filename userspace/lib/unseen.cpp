// SPDX-License-Identifier: GPL-2.0-only
#include "unseen.hpp"

#include "flat_keyed.hpp"
#include "util/files.hpp"

namespace spare {

std::uint64_t packets_to_vm(const Roots& roots, const std::string& tap) {
  const auto device = roots.sys / "class/net" / tap;
  std::error_code unknown;
  // What a tun device sends, and a macvtap receives, is the VM's to receive.
  const bool tun = std::filesystem::exists(device / "tun_flags", unknown);
  const auto text = read_file(device / "statistics" / (tun ? "tx_packets" : "rx_packets"));
  const auto number = text ? as_integer(trim(*text)) : std::nullopt;
  return number && *number > 0 ? static_cast<std::uint64_t>(*number) : 0;
}

}  // namespace spare
