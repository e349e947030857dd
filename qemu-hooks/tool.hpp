// SPDX-License-Identifier: GPL-2.0-only
#pragma once

#include <string>
#include <vector>

#include "util/result.hpp"

namespace spare_qemu {

// Runs `sparectl WORDS` and gives its output. Its complaints, when it fails, are the error, with its exit status as the code.
// `output`: what it printed, also when it fails.
spare::Result<std::string> sparectl(const std::vector<std::string>& words, std::string* output = nullptr);

inline constexpr int sparectl_exists = 3;  // create --exclusive: the cgroup is there already

}  // namespace spare_qemu
