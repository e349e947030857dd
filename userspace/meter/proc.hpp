// SPDX-License-Identifier: GPL-2.0-only
//
// What /proc says of processes that may be VMs.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>

#include "paths.hpp"

namespace spare {

// Its cgroup in the v2 hierarchy, "/machine.slice/…"; empty: not known.
std::string cgroup_of(const Roots& roots, pid_t process);

// The cgroup that is the VM of a process that runs guests in this one: libvirt's and systemd-machined's scope, else the nearest that is no threaded
// one. Empty: what else is in it is no VM's (the root, a login session), so the process is a VM by itself.
std::string vm_cgroup(const std::string& mount, std::string cgroup);

// It has no place among the levels at which the programs look for VMs.
bool is_too_deep(const std::string& cgroup);

// When it began, in clock ticks after boot; 0: it is not there.
std::uint64_t start_of(const Roots& roots, pid_t process);

// What an emulator was told to call its guest (-name, --name, --id), printable, 128 characters of it; empty: nothing.
std::string guest_name(const Roots& roots, pid_t process);

}  // namespace spare
