// SPDX-License-Identifier: GPL-2.0-only
#pragma once

#include <initializer_list>
#include <optional>

#include "util/fd.hpp"

namespace spare {

// Blocks these signals and tells of them by a file descriptor, readable when one is there.
Fd open_signals(std::initializer_list<int> numbers);
// The next that has come; nothing: none.
std::optional<int> next_signal(const Fd& signals);

}  // namespace spare
