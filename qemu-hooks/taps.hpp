// SPDX-License-Identifier: GPL-2.0-only
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <set>
#include <string>
#include <vector>

namespace spare_qemu {

// Names of the taps that these processes have open, whoever made them: the "iff:" lines of their file descriptors.
std::set<std::string> open_taps(const std::vector<pid_t>& processes, const std::filesystem::path& proc = "/proc");

}  // namespace spare_qemu
