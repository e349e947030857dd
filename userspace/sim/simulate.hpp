// SPDX-License-Identifier: GPL-2.0-only
#pragma once

#include "system.hpp"
#include "util/result.hpp"

namespace spare::sim {

class Observer;

// Is this a system that the module would admit (CBS-6, CBS-7)? limit_ppm: of each CPU; 1000000 to fill it.
spare::Result<void> check(const System& system, std::uint32_t limit_ppm);

struct RunOptions {
  unsigned threads = 1;          // islands of CPUs are simulated at once; the result is the same for any number
  Observer* observer = nullptr;  // only with one thread
};

// Runs the system from time 0 for its warm-up and length, under the class itself. Needs a system that check() admits. Deterministic by its seed.
// What the class calls an impossible state (scx_bpf_error) ends the program, by name.
// Memory: that of the system and of the results; it does not grow with the length.
Result simulate(const System& system, const RunOptions& options = {});

}  // namespace spare::sim
