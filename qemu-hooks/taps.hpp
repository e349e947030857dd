// SPDX-License-Identifier: GPL-2.0-only
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <set>
#include <string>

namespace spare_qemu {

// Names of the taps that a process has open, whoever made them: the "iff:" lines of its file descriptors.
std::set<std::string> open_taps(pid_t process, const std::filesystem::path& proc = "/proc");

// Is there such an interface now?
bool interface_exists(const std::string& name);

}  // namespace spare_qemu
