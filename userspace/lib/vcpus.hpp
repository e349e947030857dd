// SPDX-License-Identifier: GPL-2.0-only
#pragma once

#include <string>
#include <string_view>

#include "cgroup.hpp"

namespace spare {

// "CPU 3/KVM": how QEMU names a vCPU's thread, given -name debug-threads=on (libvirt gives it; spare-qemu(1) says more).
bool is_vcpu_name(std::string_view comm);
// Threads with such a name in the cgroup and below it.
unsigned vcpus_in(const Roots& roots, const CgroupTree& tree, const std::string& path);

}  // namespace spare
