// SPDX-License-Identifier: GPL-2.0-only
#include "top/ui.hpp"

#include <algorithm>
#include <array>

namespace sparectl::top {
namespace {

constexpr std::array delays_s = {0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0};

void show(Ui& ui, const View& view) {
  if (ui.view->subject != view.subject) {
    ui.selected.clear();
    ui.panel = Panel::none;
  }
  ui.view = &view;
  ui.sorted_by = nullptr;
  ui.reversed = false;
  ui.skipped = ui.panel_first = 0;
}

// The next column of the view, or the one before, round and round.
void sort_by_next(Ui& ui, int by) {
  const auto& ids = ui.view->columns;
  const auto at = std::find(ids.begin(), ids.end(), std::string_view(ui.sort_column().id));
  const auto n = static_cast<long>(ids.size());
  const long next = (at - ids.begin() + by + n) % n;
  ui.sorted_by = find_column(ids[static_cast<std::size_t>(next)], ui.view->subject);
  ui.reversed = false;
}

void move(Ui& ui, const Shown& shown, long by) {
  if (ui.panel == Panel::help) {
    ui.panel_first = static_cast<std::size_t>(std::max(0L, static_cast<long>(ui.panel_first) + by));
    return;
  }
  if (!shown.keys.empty()) {
    const long to = static_cast<long>(selected_row(ui, shown.keys)) + by;
    ui.selected = shown.keys[static_cast<std::size_t>(std::clamp(to, 0L, static_cast<long>(shown.keys.size()) - 1))];
  }
}

void change_delay(Ui& ui, bool longer) {
  double next = longer ? delays_s.back() : delays_s.front();
  for (const double delay : delays_s) {
    if (longer ? delay > ui.delay_s * 1.01 && delay < next : delay < ui.delay_s * 0.99 && delay > next) {
      next = delay;
    }
  }
  ui.delay_s = next;
}

void toggle(Ui& ui, Panel panel) {
  const bool fits = panel == Panel::help || ui.view->subject == Subject::vm;
  ui.panel = ui.panel == panel || !fits ? Panel::none : panel;
  ui.panel_first = 0;
}

void type(Ui& ui, Key key) {
  switch (key.name) {
    case Key::enter:
      ui.typing = false;
      break;
    case Key::escape:
      ui.typing = false;
      ui.filter.clear();
      break;
    case Key::backspace:
      if (!ui.filter.empty()) {
        ui.filter.pop_back();
      }
      break;
    case Key::character:
      if (ui.filter.size() < 64) {
        ui.filter += key.letter;
      }
      break;
    default:
      break;
  }
}

void letter(Ui& ui, char c, const Shown& shown) {
  for (const View& view : all_views()) {
    if (view.key == c && (shown.interval == nullptr || has_data(view, *shown.interval))) {
      show(ui, view);
      return;
    }
  }
  switch (c) {
    case 'q':
      ui.quit = true;
      break;
    case 'j':
      move(ui, shown, 1);
      break;
    case 'k':
      move(ui, shown, -1);
      break;
    case '<':
      sort_by_next(ui, -1);
      break;
    case '>':
      sort_by_next(ui, 1);
      break;
    case 'r':
      ui.reversed = !ui.reversed;
      break;
    case '/':
      ui.typing = true;
      ui.filter.clear();
      break;
    case ' ':
    case 'f':
      ui.frozen = !ui.frozen;
      break;
    case 'u':
      ui.shares = ui.shares == Shares::percent ? Shares::ms_per_s : Shares::percent;
      break;
    case 'h':
    case '?':
      toggle(ui, Panel::help);
      break;
    case 'w':
      toggle(ui, Panel::why);
      break;
    case '+':
      change_delay(ui, true);
      break;
    case '-':
      change_delay(ui, false);
      break;
    case '.':
    case ',':
      ui.step = ui.replay ? (c == '.' ? 1 : -1) : 0;
      break;
    case ']':
    case '[':
      ui.step = ui.replay ? (c == ']' ? 60 : -60) : 0;
      break;
    default:
      break;
  }
}

}  // namespace

const Column& Ui::sort_column() const { return sorted_by != nullptr ? *sorted_by : *find_column(view->sorted_by, view->subject); }

bool has_data(const View& view, const Interval& interval) {
  const Sample& now = interval.now();
  const auto& vms = now.vms;
  if (view.id == std::string_view("bill")) {
    return now.metered;
  }
  if (view.id == std::string_view("pool")) {
    return std::any_of(vms.begin(), vms.end(), [](const VmSample& vm) { return vm.provider; });
  }
  return true;
}

std::size_t selected_row(const Ui& ui, const std::vector<std::string>& keys) {
  const auto found = std::find(keys.begin(), keys.end(), ui.selected);
  return found == keys.end() ? 0 : static_cast<std::size_t>(found - keys.begin());
}

void press(Ui& ui, Key key, const Shown& shown) {
  if (ui.typing) {
    type(ui, key);
    return;
  }
  const auto page = static_cast<long>(std::max<std::size_t>(shown.page, 1)), all = static_cast<long>(shown.keys.size()) + 1000;
  switch (key.name) {
    case Key::character:
      letter(ui, key.letter, shown);
      break;
    case Key::up:
      move(ui, shown, -1);
      break;
    case Key::down:
      move(ui, shown, 1);
      break;
    case Key::page_up:
      move(ui, shown, -page);
      break;
    case Key::page_down:
      move(ui, shown, page);
      break;
    case Key::home:
      move(ui, shown, -all);
      break;
    case Key::end:
      move(ui, shown, all);
      break;
    case Key::left:
      ui.skipped -= ui.skipped > 0 ? 1 : 0;
      break;
    case Key::right:
      ui.skipped += ui.skipped + 2 < ui.view->columns.size() ? 1 : 0;
      break;
    case Key::enter:
      toggle(ui, Panel::detail);
      break;
    case Key::escape:
      if (ui.panel != Panel::none) {
        ui.panel = Panel::none;
      } else {
        ui.filter.clear();
      }
      break;
    case Key::backspace:
    case Key::none:
      break;
  }
}

}  // namespace sparectl::top
