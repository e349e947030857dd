// SPDX-License-Identifier: GPL-2.0-only
#pragma once

#include <string>
#include <vector>

#include "util/result.hpp"

namespace spare_qemu {

// Runs `sparectl WORDS` and gives its output. Its complaints, when it fails, are the error.
spare::Result<std::string> sparectl(const std::vector<std::string>& words);

}  // namespace spare_qemu
