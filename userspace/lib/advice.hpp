// SPDX-License-Identifier: GPL-2.0-only
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "settings.hpp"

namespace spare {

// SPARE-10: what was lent to a VM was too short for what it had to do, and which setting makes it longer. Empty: it was not, or seldom.
// spare_us: the largest budget of its providers; 0: not known.
std::vector<std::string> advice(const Vm& vm, std::uint64_t spare_us);

}  // namespace spare
