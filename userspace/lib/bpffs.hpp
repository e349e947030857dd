// SPDX-License-Identifier: GPL-2.0-only
#pragma once

#include "paths.hpp"
#include "util/result.hpp"

namespace spare {

// Mounts the BPF file system where it is not.
Result<void> ensure_bpffs(const Roots& roots);

}  // namespace spare
