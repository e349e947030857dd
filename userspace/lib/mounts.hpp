// SPDX-License-Identifier: GPL-2.0-only
#pragma once

#include <filesystem>

#include "paths.hpp"
#include "util/result.hpp"

namespace spare {

// Where cgroup v2 is mounted, by /proc/self/mountinfo.
Result<std::filesystem::path> find_cgroup2(const Roots& roots);

}  // namespace spare
