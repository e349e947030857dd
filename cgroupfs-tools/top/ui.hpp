// SPDX-License-Identifier: GPL-2.0-only
//
// What top's user has chosen, and what a key changes in it. Pure.
#pragma once

#include <cstddef>
#include <optional>
#include <string>

#include "top/columns.hpp"
#include "top/value.hpp"

namespace sparectl::top {

struct Key {
  enum Name { character, up, down, page_up, page_down, home, end, left, right, enter, escape, backspace, none };
  Name name = none;
  char letter = 0;
};

enum class Panel { none, help, detail, why };

struct Ui {
  static constexpr double least_delay_s = 0.1, most_delay_s = 60;

  const View* view = &all_views().front();
  const Column* sorted_by = nullptr;  // none: what the view says
  bool reversed = false;              // texts are sorted upwards, numbers downwards; or the other way round
  std::string filter;
  bool typing = false;  // the filter
  bool frozen = false;
  Shares shares = Shares::percent;
  std::string selected;    // key of a row; empty: the first
  std::size_t first = 0;   // row on the screen
  std::size_t skipped = 0; // columns, behind the first
  Panel panel = Panel::none;
  std::size_t panel_first = 0;  // line of it
  double delay_s = 1;
  bool quit = false;
  bool now = false;   // a sample is wanted at once
  bool replay = false;
  long step = 0;      // of a replay: samples to go, also back

  [[nodiscard]] const Column& sort_column() const;
  [[nodiscard]] bool ascending() const { return (sort_column().unit == Unit::text || view->subject == Subject::cpu) != reversed; }
};

// What a key needs to know of the screen.
struct Shown {
  std::vector<std::string> keys;  // of all rows, in their order
  std::size_t page = 1;           // rows on the screen
  const Interval* interval = nullptr;  // of which views with nothing to show are passed over
};

void press(Ui& ui, Key key, const Shown& shown);

// Whether it has something to show.
bool has_data(const View& view, const Interval& interval);
// Which row is selected; 0 when it is there no longer.
std::size_t selected_row(const Ui& ui, const std::vector<std::string>& keys);

}  // namespace sparectl::top
