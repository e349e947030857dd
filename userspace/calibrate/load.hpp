// SPDX-License-Identifier: GPL-2.0-only
#pragma once

#include <cstdint>

#include "frame.hpp"
#include "guest_nic.hpp"
#include "util/result.hpp"
#include "wire.hpp"

namespace spare {

// Packets of one kind, at a steady pace.
struct Load {
  bool to_guest = false;
  Cut cut = Cut::none;  // of the guest's: none or tcp
  std::size_t size = 64;   // bytes of payload
  unsigned batch = 1;      // packets at once: of the guest's with one kick, to it in one softirq
  unsigned per_s = 1000;   // batches a second
  unsigned batches = 700;
};

struct Carried {
  std::uint64_t packets = 0, lost = 0;
  std::uint64_t bytes = 0;  // of frames, without the virtio header
};

// Carries it from the guest, or to it, and waits for the last packet. The guest's NIC is without vhost, or who meters it has seen its worker.
Result<Carried> carry(GuestNic& guest, Wire& wire, const Load& load, const Mac& guest_mac, const Mac& wire_mac);

}  // namespace spare
