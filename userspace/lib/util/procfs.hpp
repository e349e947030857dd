// SPDX-License-Identifier: GPL-2.0-only
//
// Forms in which the kernel and command lines write what more than one of our programs reads.
#pragma once

#include <sys/types.h>

#include <string>
#include <string_view>
#include <vector>

namespace spare {

// Of a cgroup.procs. (Processes of a pid namespace that is not below ours, which are 0 there, are left out.)
std::vector<pid_t> processes_of(std::string_view cgroup_procs);

// Value of key= in "type,key=value,...".
std::string key_in(std::string_view list, std::string_view key);
// The guest's name in the value of QEMU's -name: "NAME,..." or "guest=NAME,..."; empty: none.
std::string guest_of_option(std::string_view value);

}  // namespace spare
