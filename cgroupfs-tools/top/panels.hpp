// SPDX-License-Identifier: GPL-2.0-only
//
// What is shown below the table, or in place of it: help, servers and threads of a VM, why it is slow.
#pragma once

#include <string>
#include <vector>

#include "top/screen.hpp"

namespace sparectl::top {

// `row`: the selected one; null: there is none.
Grid panel_lines(const Ui& ui, const Row* row, const Interval& longer, const std::vector<ThreadRow>& threads, std::size_t width, const Glyphs& glyphs);

// In place of the rows of a view that has none.
std::string nothing_text(const View& view);

// Keys and what they do, for help and man page.
struct KeyHelp {
  const char* key;
  const char* what;
};
const std::vector<KeyHelp>& all_keys();

}  // namespace sparectl::top
