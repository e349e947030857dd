// SPDX-License-Identifier: GPL-2.0-only
//
// What /proc says of processes that may be VMs.
#pragma once

#include <sys/types.h>

#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "paths.hpp"

namespace spare {

struct Tap {
  std::string name;
  std::uint32_t ifindex = 0;
  std::uint32_t netns = 0;  // inode of its network namespace
  bool napi = false;        // IFF_NAPI: what its VM sends is served in softirqs
  auto operator<=>(const Tap&) const = default;
};

// Its cgroup in the v2 hierarchy, "/machine.slice/…"; empty: not known.
std::string cgroup_of(const Roots& roots, pid_t process);

// The cgroup that is the VM of a process that runs guests in this one: libvirt's and systemd-machined's scope, else the nearest that is no threaded
// one. Empty: what else is in it is no VM's (the root, a login session), so the process is a VM by itself.
std::string vm_cgroup(const std::string& mount, std::string cgroup);

// Processes that hold a VM of KVM's, or vhost's device.
std::vector<pid_t> processes_with_guests(const Roots& roots);

// Taps and macvtaps that a process holds, in whatever namespace they are now, the first 64. Looks at `left` file descriptors at most, and counts it down.
// Nothing: it could not be looked at now.
std::optional<std::vector<Tap>> taps_of(const Roots& roots, pid_t process, std::size_t& left);

// What an emulator was told to call its guest (-name, --name, --id); empty: nothing.
std::string guest_name(const Roots& roots, pid_t process);

}  // namespace spare
