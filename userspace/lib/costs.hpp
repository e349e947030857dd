// SPDX-License-Identifier: GPL-2.0-only
#pragma once

#include <filesystem>

#include "paths.hpp"
#include "util/result.hpp"

struct bpf_map;

// The map in which the meter sums up what VMs cost, and the class reads it (sched_spare/bpf/cost.bpf.h): one for both, whichever comes first, pinned beside
// them for as long as there is one of the two.
namespace spare::costs {

// Before the object of `map` is loaded: it has the one that is pinned, if one is.
Result<void> reuse(const Roots& roots, bpf_map* map);

// Pins it, where it is not. EPROTO: another one is.
Result<void> pin(const Roots& roots, int fd);

// Is it the one that is pinned, if one is?
bool is_shared(const Roots& roots, int fd);

// Unless class or meter is pinned in that directory, it goes.
void remove_unused(const std::filesystem::path& directory);

}  // namespace spare::costs
