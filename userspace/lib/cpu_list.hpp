// SPDX-License-Identifier: GPL-2.0-only
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "util/result.hpp"

namespace spare {

// CPU numbers, ascending, each once.
using Cpus = std::vector<unsigned>;

// "0-2,5" <-> {0, 1, 2, 5}; empty text: none. The kernel's form: what the formatter writes, spare.cpus reads back unchanged.
Result<Cpus> parse_cpu_list(std::string_view text);
std::string format_cpu_list(const Cpus& cpus);

bool contains(const Cpus& cpus, unsigned cpu);
Cpus intersection(const Cpus& a, const Cpus& b);
Cpus difference(const Cpus& a, const Cpus& b);

}  // namespace spare
