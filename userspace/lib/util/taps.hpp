// SPDX-License-Identifier: GPL-2.0-only
//
// Taps and macvtaps that processes have open, whoever made them and by whatever way they came there.
#pragma once

#include <sys/types.h>

#include <compare>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace spare {

struct Tap {
  std::string name;
  std::uint32_t ifindex = 0;
  std::uint32_t netns = 0;  // inode of its network namespace
  bool napi = false;        // IFF_NAPI: what its VM sends is served in softirqs
  auto operator<=>(const Tap&) const = default;
};

// Those that a process holds, in whatever namespace they are now, the first 64. Looks at `left` file descriptors at most, and counts it down: at 0 there
// may be more. Nothing: it could not be looked at now, or changes its files under the eyes of who looks.
std::optional<std::vector<Tap>> taps_of(const std::filesystem::path& proc, pid_t process, std::size_t& left);

// The taps and macvtaps of these names in this network namespace, by what sysfs says; other names are left out.
std::vector<Tap> taps_called(const std::filesystem::path& sys, const std::vector<std::string>& names);

// The network namespace of the caller, as in Tap; 0: not known.
std::uint32_t own_netns();

}  // namespace spare
