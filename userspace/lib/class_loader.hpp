// SPDX-License-Identifier: GPL-2.0-only
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "kernel_btf.hpp"
#include "paths.hpp"
#include "util/result.hpp"

namespace spare {

// The kfuncs that the class in this program calls, and what it needs.
Result<std::vector<std::string>> kfuncs_of_class();
Result<Needs> needs_of_class();

// The ABI number that this program was compiled with (LIFE-6).
unsigned own_abi();

// Which build of the class this program has: another number for each content.
std::uint64_t own_build();

struct Loaded {
  std::uint64_t verified = 0;   // instructions: the class's threads wait for it wherever the class has to be loaded again
  std::chrono::nanoseconds without{};  // a class, with `replace`
};

// Loads the class, attaches it and pins it (PinnedClass). When it returns without error the class is enabled. On error
// nothing is left in the kernel and the text says why, ending with what the verifier or libbpf said.
// With `replace` the class that is pinned is unloaded when the new one has passed the verifier (sched_ext cannot exchange one for another): between the
// two VMs are with the kernel's scheduler, limited by their cpu.max.
Result<Loaded> load_class(const Roots& roots, bool replace = false);

}  // namespace spare
