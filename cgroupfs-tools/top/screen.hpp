// SPDX-License-Identifier: GPL-2.0-only
//
// What top shows: from samples and what the user has chosen to a grid of text. Pure, for a screen of any size.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "top/columns.hpp"
#include "top/grid.hpp"
#include "top/ui.hpp"

namespace sparectl::top {

// A thread of the VM that is looked at.
struct ThreadRow {
  int id = 0;
  std::string name;
  char state = '?';  // as in proc(5)
  int cpu = -1;      // where it ran last
  Value used_pct, wait_pct, runs_ps;
};

struct Screen {
  Grid grid;
  Shown shown;
};

// ui.first is moved so that the selected row is on the screen. `threads`: of that row. `note`: in place of the keys in the last line.
Screen draw(Ui& ui, const Interval& last, const Interval& longer, const std::vector<ThreadRow>& threads, std::size_t width, std::size_t height,
            const Glyphs& glyphs, const std::string& note);

// A table as wide as it needs: batch mode's.
Grid draw_table(const View& view, const std::vector<const Column*>& columns, const std::vector<Row>& rows, Shares shares, const Glyphs& glyphs);
// What the first lines say of the host.
std::vector<std::string> headline(const Interval& last);

}  // namespace sparectl::top
