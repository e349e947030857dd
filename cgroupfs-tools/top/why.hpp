// SPDX-License-Identifier: GPL-2.0-only
//
// Why is a VM slow? In sentences, from its counters. Pure.
#pragma once

#include <string>
#include <vector>

#include "top/interval.hpp"

namespace sparectl::top {

struct Reason {
  const char* rule;  // its name in why.cpp
  double weight;     // the greater, the more it explains
  std::string text;  // what is the case, and what would help
};

// What applies to the VM with that path, the weightiest first; at least one. `longer`: over about 10 s; rates are taken from there.
std::vector<Reason> why_slow(const Interval& longer, const std::string& path);

}  // namespace sparectl::top
