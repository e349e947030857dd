// SPDX-License-Identifier: GPL-2.0-only
#include "load.hpp"

#include <algorithm>
#include <chrono>
#include <optional>
#include <thread>

namespace spare {
namespace {

using Clock = std::chrono::steady_clock;
constexpr auto patience = std::chrono::seconds{1};  // for the last packet

// Calls it for each batch; stops at an error.
template <typename Work>
Result<void> paced(const Load& load, Work work) {
  const auto start = Clock::now();
  for (unsigned i = 0; i < load.batches; i++) {
    std::this_thread::sleep_until(start + std::chrono::nanoseconds(std::int64_t{1000000000} * i / load.per_s));
    if (auto done = work(); !done) {
      return done;
    }
  }
  return {};
}

Result<std::uint64_t> to_guest(GuestNic& guest, Wire& wire, const Load& load, std::uint64_t wanted) {
  Result<void> sent;
  std::jthread sender([&] { sent = paced(load, [&] { return wire.send(); }); });
  const auto end = Clock::now() + std::chrono::nanoseconds(std::int64_t{1000000000} * load.batches / load.per_s) + patience;
  std::uint64_t packets = 0;
  while (packets < wanted && Clock::now() < end) {
    guest.wait(100);
    const auto taken = guest.take();
    if (!taken) {
      return taken.error();
    }
    packets += *taken;
  }
  sender.join();
  return sent ? Result<std::uint64_t>(packets) : sent.error();
}

Result<std::uint64_t> from_guest(GuestNic& guest, const Load& load, const std::vector<std::uint8_t>& frame) {
  std::uint64_t packets = 0;
  guest.set_frame(frame);
  if (auto sent = paced(load, [&] { packets += guest.send(load.batch); return Result<void>(); }); !sent) {
    return sent.error();
  }
  for (const auto end = Clock::now() + patience; guest.on_the_way() != 0 && Clock::now() < end;) {
    std::this_thread::sleep_for(std::chrono::milliseconds{1});
  }
  return packets - guest.on_the_way();
}

}  // namespace

Result<Carried> carry(GuestNic& guest, Wire& wire, const Load& load, const Mac& guest_mac, const Mac& wire_mac) {
  FrameShape shape;
  shape.to = load.to_guest ? guest_mac : wire_mac;
  shape.from = load.to_guest ? wire_mac : guest_mac;
  shape.size = load.size;
  shape.cut = load.cut;
  if (load.to_guest && load.batch > 1) {  // one packet that the wire's device cuts
    shape.cut = Cut::udp;
    shape.pieces = load.batch;
  }
  const auto frame = make_frame(shape);
  const std::uint64_t wanted = std::uint64_t{load.batches} * load.batch;
  wire.set_frame(frame);
  if (auto stray = guest.take(); !stray) {  // what came before
    return stray.error();
  }
  const auto packets = load.to_guest ? to_guest(guest, wire, load, wanted) : from_guest(guest, load, frame);
  if (!packets) {
    return packets.error();
  }
  shape.cut = load.cut;
  // (One more may be the host's own.)
  return Carried{*packets, wanted - std::min(wanted, *packets), *packets * (make_frame(shape).size() - virtio_header)};
}

}  // namespace spare
