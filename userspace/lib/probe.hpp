// SPDX-License-Identifier: GPL-2.0-only
#pragma once

#include <string>
#include <vector>

#include "kernel_btf.hpp"
#include "paths.hpp"

namespace spare {

// One thing that the class needs, and whether it is there.
struct Finding {
  enum class Kind {
    good,
    note,     // works, but somebody should know
    missing,  // the class cannot run
  };
  Kind kind;
  std::string what;
  std::string remedy;  // what to do; empty when good
};

// Everything the class needs from this machine (LIFE-5). Reads only. abi is the caller's.
std::vector<Finding> probe(const Roots& roots, const Needs& needs, unsigned abi);

bool usable(const std::vector<Finding>& findings);

}  // namespace spare
