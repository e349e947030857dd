// SPDX-License-Identifier: GPL-2.0-only
//
// Making and entering cgroups. Paths are absolute from the root of the hierarchy: "/vm/vm1".
#pragma once

#include <string>

#include "cgroup.hpp"

namespace sparectl {

// CgroupTree::make, whose new cgroups are marked as sparectl's (mark::made). One that is there already is fine.
spare::Result<spare::Cgroup> make_cgroup(const spare::CgroupTree& tree, const std::string& name);

// Moves this process into the cgroup.
spare::Result<void> enter_cgroup(const spare::CgroupTree& tree, const std::string& name);

}  // namespace sparectl
