// SPDX-License-Identifier: GPL-2.0-only
#pragma once

#include <memory>

struct nl_sock;

namespace spare_qemu {

// Tells when taps of this network namespace come, go, or are changed, renamed included (rtnetlink).
class TapEvents {
 public:
  TapEvents();

  // Readable when there is something to drain(); -1: the kernel does not tell.
  [[nodiscard]] int fd() const;
  // Takes what there is. Was any of it about a tap?
  bool drain();

 private:
  struct Close {
    void operator()(nl_sock* socket) const;
  };
  std::unique_ptr<nl_sock, Close> socket_;
};

}  // namespace spare_qemu
