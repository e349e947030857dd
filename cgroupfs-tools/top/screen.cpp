// SPDX-License-Identifier: GPL-2.0-only
#include "top/screen.hpp"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "top/panels.hpp"

namespace sparectl::top {
namespace {

constexpr std::size_t name_least = 12, name_most = 40, heading_lines = 4;

struct Laid {
  const Column* column;
  std::size_t width;
};

Style style_of(const Column& column, const Value& value) {
  const auto* number = std::get_if<double>(&value);
  if (number == nullptr || column.warn == 0 || *number < column.warn) {
    return Style::plain;
  }
  return *number >= column.bad ? Style::bad : Style::warn;
}

bool to_the_right(const Column& column) { return column.unit != Unit::text; }

std::string cell(const Column& column, const Value& value, std::size_t width, Shares shares, const Glyphs& glyphs) {
  std::string text = shown(value, column.unit, width, shares);
  if (std::string_view(column.id) == "buckets" && std::holds_alternative<std::string>(value)) {
    std::string blocks;
    for (const char height : text) {
      blocks += glyphs.block(static_cast<unsigned>(height - '0'));
    }
    text = blocks;
  }
  return fit(text, width, to_the_right(column), glyphs);
}

std::vector<const Column*> columns_of(const View& view, bool metered) {
  std::vector<const Column*> columns;
  for (const std::string_view id : view.columns) {
    const Column* column = find_column(id, view.subject);
    if (metered || !column->metered) {
      columns.push_back(column);
    }
  }
  return columns;
}

// As many as there is room for: the first always, then those behind the skipped ones.
std::vector<Laid> lay(const std::vector<const Column*>& columns, std::size_t skipped, std::size_t width) {
  std::vector<Laid> laid;
  const std::size_t first = columns.front()->width == 0 ? name_least : columns.front()->width;
  std::size_t taken = first;
  laid.push_back({columns.front(), first});
  for (std::size_t i = 1 + std::min(skipped, columns.size() - 1); i < columns.size() && taken + 1 + columns[i]->width <= width; i++) {
    const std::size_t own = columns[i]->width == 0 ? name_least : columns[i]->width;
    laid.push_back({columns[i], own});
    taken += 1 + own;
  }
  if (columns.front()->width == 0) {
    laid.front().width += std::min(width - std::min(width, taken), name_most - name_least);
  }
  return laid;
}

Line titles(const std::vector<Laid>& laid, const Ui* ui, const Glyphs& glyphs) {
  Line line;
  for (const Laid& one : laid) {
    const bool sorted = ui != nullptr && one.column == &ui->sort_column();
    std::string title = one.column->title;
    if (sorted && title.size() < one.width) {
      title += ui->ascending() ? glyphs.up() : glyphs.down();
    }
    line.add(sorted ? Style::key : Style::title, fit(title, one.width, to_the_right(*one.column), glyphs));
    line.add(Style::title, &one == &laid.back() ? "" : " ");
  }
  return line;
}

Line row_line(const Row& row, const std::vector<Laid>& laid, Shares shares, const Glyphs& glyphs) {
  Line line;
  for (const Laid& one : laid) {
    const Value value = one.column->value(row);
    line.add(style_of(*one.column, value), cell(*one.column, value, one.width, shares, glyphs));
    line.add(Style::plain, &one == &laid.back() ? "" : " ");
  }
  return line;
}

Line tabs(const Ui& ui, const Interval& last) {
  Line line;
  for (const View& view : all_views()) {
    if (has_data(view, last)) {
      line.add(&view == ui.view ? Style::key : Style::soft, fmt::format("{} {}", view.key, view.id)).add(Style::plain, "  ");
    }
  }
  return line;
}

Line footer(const Ui& ui, const std::string& note) {
  Line line;
  if (ui.typing) {
    return line.add(Style::key, "filter: ").add(Style::plain, ui.filter + "_");
  }
  if (!note.empty()) {
    return line.add(Style::warn, note);
  }
  const std::pair<const char*, const char*> keys[] = {{"h", "help"}, {"Enter", "servers"}, {"w", "why"}, {"/", "filter"}, {"<>", "sort"}, {"u", "units"}, {"space", "freeze"}, {"q", "quit"}};
  for (const auto& [key, what] : keys) {
    line.add(Style::key, key).add(Style::soft, fmt::format(" {}  ", what));
  }
  return line;
}

Line first_line(const Ui& ui, const Interval& last, std::size_t width, const Glyphs& glyphs) {
  const auto lines = headline(last);
  std::string right = fmt::format("{:.3g} s", ui.replay ? last.seconds() : ui.delay_s);
  right += ui.filter.empty() ? "" : " /" + ui.filter;
  right += ui.shares == Shares::ms_per_s ? " ms/s" : "";
  right += ui.replay ? " replay" : "";
  const std::string frozen = ui.frozen ? " FROZEN" : "";
  const std::size_t own = width_of(right + frozen, glyphs);
  Line line;
  line.add(Style::plain, fit(lines.front(), width - std::min(width, own + 1), false, glyphs)).add(Style::plain, " ");
  line.add(Style::soft, right).add(Style::bad, frozen);
  return line;
}

std::string local_time(std::int64_t real_ns) {
  return fmt::format("{:%F %T}", fmt::localtime(static_cast<std::time_t>(real_ns / 1000000000)));
}

// Mean over all CPUs.
std::string cpus_text(const Interval& last) {
  std::string text = fmt::format("{} CPUs:", last.cpus().size());
  for (const auto& [id, name] : {std::pair{"vms_pct", "VMs"}, {"host_pct", "host"}, {"net_pct", "net"}, {"idle_pct", "idle"}}) {
    double all = 0;
    bool known = false;
    for (const CpuPair& cpu : last.cpus()) {
      Row row{{}, {}, {}, cpu, &last};
      if (const Value value = find_column(id, Subject::cpu)->value(row); std::holds_alternative<double>(value)) {
        all += std::get<double>(value);
        known = true;
      }
    }
    text += known ? fmt::format(" {} {:.0f}", name, all / static_cast<double>(last.cpus().size())) : "";
  }
  return text + " %";
}

// Which rows: the selected one is on the screen, and the screen is full while there are enough.
void scroll(Ui& ui, std::size_t selected, std::size_t rows, std::size_t page) {
  ui.first = std::min(ui.first, selected);
  if (selected >= ui.first + page) {
    ui.first = selected - page + 1;
  }
  ui.first = std::min(ui.first, rows > page ? rows - page : 0);
}

}  // namespace

std::vector<std::string> headline(const Interval& last) {
  const Sample& now = last.now();
  std::size_t vms = 0, throttled = 0, spares = 0, free = 0;
  for (const VmSample& vm : now.vms) {
    vms += vm.provider ? 0 : 1;
    throttled += !vm.provider && vm.values.get(Counter::nr_throttled).value_or(0) != 0 ? 1 : 0;
    for (const ServerSample& server : vm.servers) {
      spares += vm.provider ? 1 : 0;
      free += vm.provider && !server.claimed ? 1 : 0;
    }
  }
  std::string second = fmt::format("{} {}", vms, vms == 1 ? "VM" : "VMs");
  second += throttled != 0 ? fmt::format(" ({} throttled)", throttled) : "";
  second += spares != 0 ? fmt::format("  {}/{} spares free", free, spares) : "";
  return {local_time(now.real_ns) + "  " + now.state, second + "  " + cpus_text(last)};
}

Screen draw(Ui& ui, const Interval& last, const Interval& longer, const std::vector<ThreadRow>& threads, std::size_t width, std::size_t height,
            const Glyphs& glyphs, const std::string& note) {
  Screen screen;
  if (!has_data(*ui.view, last)) {
    ui.view = &all_views().front();
    ui.sorted_by = nullptr;
  }
  auto rows = rows_of(*ui.view, last, longer);
  filter_rows(rows, ui.view->subject, ui.filter);
  sort_rows(rows, ui.sort_column(), ui.ascending());
  for (const Row& row : rows) {
    screen.shown.keys.push_back(row.key(ui.view->subject));
  }
  const std::size_t selected = selected_row(ui, screen.shown.keys);
  const Row* row = rows.empty() ? nullptr : &rows[selected];
  const Grid panel = panel_lines(ui, row, longer, threads, width, glyphs);
  const std::size_t below = height > heading_lines + 1 ? height - heading_lines - 1 : 0;  // for rows and panel
  const std::size_t taken = ui.panel == Panel::none ? 0 : ui.panel == Panel::help ? below : std::min(panel.size(), below * 2 / 3);
  const std::size_t page = below - taken;
  scroll(ui, selected, rows.size(), std::max<std::size_t>(page, 1));
  const auto laid = lay(columns_of(*ui.view, last.now().metered), ui.skipped, width);

  screen.grid.push_back(first_line(ui, last, width, glyphs));
  screen.grid.push_back(Line().add(Style::plain, headline(last).back()));
  screen.grid.push_back(tabs(ui, last));
  screen.grid.push_back(titles(laid, &ui, glyphs));
  for (std::size_t i = ui.first; i < std::min(rows.size(), ui.first + page); i++) {
    screen.grid.push_back(row_line(rows[i], laid, ui.shares, glyphs));
    screen.grid.back().selected = i == selected;
  }
  if (rows.empty() && page > 0) {
    screen.grid.push_back(Line().add(Style::soft, ui.filter.empty() ? nothing_text(*ui.view) : "no name has '" + ui.filter + "' in it (Esc: all)"));
  }
  ui.panel_first = std::min(ui.panel_first, panel.size() > taken ? panel.size() - taken : 0);
  screen.grid.resize(heading_lines + page);
  for (std::size_t i = 0; i < taken && ui.panel_first + i < panel.size(); i++) {
    screen.grid.push_back(panel[ui.panel_first + i]);
  }
  screen.grid.resize(heading_lines + below);
  screen.grid.push_back(footer(ui, note));
  screen.grid.resize(std::min(screen.grid.size(), height));
  for (Line& line : screen.grid) {
    clip(line, width, glyphs);
  }
  screen.shown.page = std::max<std::size_t>(page, 1);
  return screen;
}

Grid draw_table(const View& view, const std::vector<const Column*>& columns, const std::vector<Row>& rows, Shares shares, const Glyphs& glyphs) {
  std::vector<Laid> laid;
  for (const Column* column : columns) {
    std::size_t width = column->width == 0 ? name_least : column->width;
    for (const Row& row : rows) {
      if (const Value value = column->value(row); column->unit == Unit::text && std::holds_alternative<std::string>(value)) {
        width = std::max(width, std::string_view(column->id) == "buckets" ? lat_buckets : width_of(std::get<std::string>(value), glyphs));
      }
    }
    laid.push_back({column, width});
  }
  Grid grid = {titles(laid, nullptr, glyphs)};
  for (const Row& row : rows) {
    grid.push_back(row_line(row, laid, shares, glyphs));
  }
  if (rows.empty()) {
    grid.push_back(Line().add(Style::soft, nothing_text(view)));
  }
  return grid;
}

}  // namespace sparectl::top
