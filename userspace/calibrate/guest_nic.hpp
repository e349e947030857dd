// SPDX-License-Identifier: GPL-2.0-only
//
// A guest's NIC without a guest: both virtqueues behind the real vhost-net, or a tap that is read and written as an emulator does. It needs no KVM,
// so a packet's whole cost on the host can be had on any machine.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "util/fd.hpp"
#include "util/result.hpp"

struct vring_avail;
struct vring_desc;
struct vring_used;

namespace spare {

struct NicOptions {
  std::string tap;        // made, or taken over
  bool vhost = true;      // else the tap is read and written by who calls take() and send()
  bool offloads = false;  // the guest takes packets that are not cut and have no checksum yet, as Linux guests do
  bool napi = false;      // the tap with IFF_NAPI: what is written into it is served in softirqs
};

class GuestNic {
 public:
  // Makes the tap, sets it up, starts vhost. CAP_NET_ADMIN is wanted.
  static Result<GuestNic> open(const NicOptions& options);
  GuestNic(GuestNic&& other) noexcept;
  GuestNic& operator=(GuestNic&&) = delete;
  GuestNic(const GuestNic&) = delete;
  GuestNic& operator=(const GuestNic&) = delete;
  ~GuestNic();

  // Takes what has come, and gives the buffers back: how many packets. An error is a device that is gone.
  Result<unsigned> take();
  // Until something has come, or so many milliseconds have passed.
  void wait(int ms) const;

  // What send() sends, from now on: as make_frame() makes it. Nothing may be on its way.
  void set_frame(const std::vector<std::uint8_t>& frame);
  // Sends it n times, with one kick. How often there was room for it; without vhost, how often the tap took it.
  unsigned send(unsigned n);
  // Writes a frame into the tap past vhost, as a process does that holds it. False: it was not taken (errno).
  [[nodiscard]] bool write(const std::vector<std::uint8_t>& frame) const;
  // Sent, and not done yet.
  [[nodiscard]] unsigned on_the_way() const;

 private:
  static constexpr unsigned entries = 256;
  struct Queue {
    vring_desc* desc = nullptr;
    vring_avail* avail = nullptr;
    vring_used* used = nullptr;
    std::uint16_t last = 0;  // taken of what is used; of the sending queue: posted
    Fd kick, call;
  };

  GuestNic() = default;
  Result<void> open_tap(const NicOptions& options);
  Result<void> open_vhost();
  Result<void> set_queue(unsigned index);
  void lay_out();
  static void post(Queue& queue, std::uint16_t entry);
  static void kick(const Queue& queue);
  Result<unsigned> read_tap();

  std::uint8_t* memory_ = nullptr;  // queues, receive buffers, the frame
  std::size_t frame_size_ = 0;
  bool has_vhost_ = false;
  Queue rx_, tx_;
  Fd tap_, vhost_, epoll_;
};

}  // namespace spare
