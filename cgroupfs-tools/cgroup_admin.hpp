// SPDX-License-Identifier: GPL-2.0-only
//
// Making and entering cgroups, by libcgroup. Paths are absolute from the root of the hierarchy: "/vm/vm1".
#pragma once

#include <string>

#include "cgroup.hpp"

namespace sparectl {

// Makes the cgroup and those above it that are missing, each with the controllers that a VM needs: cpu, io, and cpuset
// where the kernel has it. One that is there already is fine. New ones are marked as sparectl's (mark::made).
spare::Result<spare::Cgroup> make_cgroup(const spare::CgroupTree& tree, const std::string& name);

// Moves this process into the cgroup.
spare::Result<void> enter_cgroup(const spare::CgroupTree& tree, const std::string& name);

}  // namespace sparectl
