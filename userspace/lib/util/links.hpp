// SPDX-License-Identifier: GPL-2.0-only
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

struct nl_sock;

namespace spare {

// A tap or macvtap of this network namespace. One that leaves the namespace is gone, one that comes in is new.
struct Link {
  int index = 0;
  std::string name;
  bool carrier = false;  // of a tap: somebody has it open
  bool gone = false;
};

// Tells when taps come, go, or are changed, renamed included (rtnetlink).
class TapEvents {
 public:
  TapEvents();

  // Readable when there is something to drain(); -1: the kernel does not tell.
  [[nodiscard]] int fd() const;
  // What has happened since, in order. Nothing: some of it was lost, or the kernel does not tell; ask for all().
  std::optional<std::vector<Link>> drain();
  // Those that there are now. Nothing: the kernel does not tell.
  static std::optional<std::vector<Link>> all();

 private:
  struct Close {
    void operator()(nl_sock* socket) const;
  };
  std::unique_ptr<nl_sock, Close> socket_;
};

// What a device has carried since it came to be; received: by the host, so of a tap what its VM has sent.
struct LinkCounters {
  std::uint64_t received = 0, received_bytes = 0, sent = 0, sent_bytes = 0;
};

// Of all devices of this network namespace, by index. Nothing: the kernel does not tell.
std::optional<std::map<std::uint32_t, LinkCounters>> link_counters();

}  // namespace spare
