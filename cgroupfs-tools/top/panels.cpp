// SPDX-License-Identifier: GPL-2.0-only
#include "top/panels.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "duration.hpp"
#include "top/why.hpp"

namespace sparectl::top {
namespace {

void add_wrapped(Grid& grid, const std::string& title, const std::string& text, std::size_t indent, std::size_t width, const Glyphs& glyphs) {
  bool first = true;
  for (const std::string& part : wrap(text, std::max<std::size_t>(width, indent + 20) - indent, glyphs)) {
    grid.push_back(Line().add(Style::key, fit(first ? title : "", indent, false, glyphs)).add(Style::plain, part));
    first = false;
  }
}

Grid help(const Ui& ui, std::size_t width, const Glyphs& glyphs) {
  Grid grid;
  for (const auto& [key, what] : all_keys()) {
    add_wrapped(grid, key, what, 12, width, glyphs);
  }
  grid.emplace_back();
  grid.push_back(Line().add(Style::title, fmt::format("Columns of this view ({}); all are in sparectl-top(1)", ui.view->title)));
  for (const std::string_view id : ui.view->columns) {
    const Column& column = *find_column(id, ui.view->subject);
    add_wrapped(grid, column.title, column.help, 12, width, glyphs);
  }
  return grid;
}

Line heading(const VmSample& vm, const char* what) { return Line().add(Style::title, fmt::format("{} {}", what, vm.name)); }

std::string ms(double ns) { return fmt::format("{:.2f}", ns / 1e6); }

void add_servers(Grid& grid, const Row& row) {
  const VmSample& vm = *row.vm.now;
  if (vm.servers.empty()) {
    return;
  }
  grid.push_back(Line().add(Style::title, fmt::format("{:>5}  {:<9} {:>9} {:>12} {:>7}", "CPU", "SERVER", "LEFT ms", "DEADLINE ms", "USED%")));
  for (const ServerSample& server : vm.servers) {
    const auto used = row.vm.server_used(server.cpu);
    const double to_deadline = static_cast<double>(static_cast<std::int64_t>(server.d_ns - row.interval->now().monotonic_ns));
    const Style style = server.state == ServerState::throttled ? Style::bad : server.state == ServerState::running ? Style::good : Style::plain;
    grid.push_back(Line().add(Style::plain, fmt::format("{:>5}  ", server.cpu)).add(style, fmt::format("{:<9}", server.claimed ? "lent" : text_of(server.state)))
                       .add(Style::plain, fmt::format(" {:>9} {:>12} {:>7}", ms(static_cast<double>(server.q_ns)), server.d_ns == 0 ? "-" : ms(to_deadline),
                                                      used ? fmt::format("{:.1f}", *used / row.vm.seconds / 1e7) : "-")));
  }
}

void add_threads(Grid& grid, const std::vector<ThreadRow>& threads, bool replay) {
  if (threads.empty()) {
    grid.push_back(Line().add(Style::soft, replay ? "threads are not in a recording" : "no threads"));
    return;
  }
  grid.push_back(Line().add(Style::title, fmt::format("{:>8} {} {:>4} {:>7} {:>7} {:>8}  {}", "THREAD", "S", "CPU", "USED%", "RDY%", "EXEC/s", "NAME")));
  for (const ThreadRow& thread : threads) {
    grid.push_back(Line().add(Style::plain, fmt::format("{:>8} {} {:>4} {:>7} {:>7} {:>8}  {}", thread.id, thread.state, thread.cpu,
                                                        shown(thread.used_pct, Unit::percent, 7), shown(thread.wait_pct, Unit::percent, 7),
                                                        shown(thread.runs_ps, Unit::per_second, 8), thread.name)));
  }
}

Grid detail(const Ui& ui, const Row& row, const std::vector<ThreadRow>& threads) {
  const VmSample& vm = *row.vm.now;
  const auto known = [](const std::string& text) { return text.empty() ? "-" : text; };
  Grid grid = {heading(vm, "Servers and threads of")};
  grid.push_back(Line().add(Style::plain, fmt::format("{}  {}{}  CPUs {}", vm.path, vm.capped ? "cpu.max " : "",
                                                      vm.period_us == 0 ? "no reservation" : spare::format_reservation(spare::Reservation{vm.runtime_us, vm.period_us}), known(vm.cpus))));
  grid.push_back(Line().add(Style::plain, fmt::format("uses {}  taps {}", known(vm.use), known(vm.netdev))));
  if (!vm.policy.empty()) {
    grid.push_back(Line().add(Style::plain, vm.policy));
  }
  add_servers(grid, row);
  add_threads(grid, threads, ui.replay);
  return grid;
}

Grid why(const Row& row, const Interval& longer, std::size_t width, const Glyphs& glyphs) {
  Grid grid = {heading(*row.vm.now, "Why is it slow?")};
  for (const Reason& reason : why_slow(longer, row.vm.now->path)) {
    add_wrapped(grid, "-", reason.text, 2, width, glyphs);
  }
  if (longer.known()) {
    grid.push_back(Line().add(Style::soft, fmt::format("from its counters over {:.1f} s", longer.seconds())));
  }
  return grid;
}

}  // namespace

Grid panel_lines(const Ui& ui, const Row* row, const Interval& longer, const std::vector<ThreadRow>& threads, std::size_t width, const Glyphs& glyphs) {
  switch (ui.panel) {
    case Panel::none:
      return {};
    case Panel::help:
      return help(ui, width, glyphs);
    case Panel::detail:
    case Panel::why:
      break;
  }
  if (row == nullptr || row->vm.now == nullptr) {
    return {};
  }
  return ui.panel == Panel::detail ? detail(ui, *row, threads) : why(*row, longer, width, glyphs);
}

std::string nothing_text(const View& view) {
  switch (view.subject) {
    case Subject::vm:
      return "no VM: no cgroup has a reservation (sparectl set), and no process runs a guest";
    case Subject::pool:
      return "no pool: no cgroup provides spare bandwidth (sparectl set --provide)";
    case Subject::cpu:
      break;
  }
  return "no CPU";
}

const std::vector<KeyHelp>& all_keys() {
  static const std::vector<KeyHelp> keys = {
      {"1 to 9", "the views: VMs, network, spare bandwidth, latency, time, bill, pools, CPUs, debt; one that has nothing to show is left out"},
      {"up, down", "select a row; also PgUp, PgDn, Home, End, j and k"},
      {"left, right", "shift the columns behind the first"},
      {"Enter", "servers and threads of the selected VM"},
      {"w", "why is it slow: what its counters of the last 10 s say, and what would help"},
      {"< >", "sort by the column before, or the next one"},
      {"r", "reverse the order"},
      {"/", "only those whose name or cgroup contains a text; Esc: all"},
      {"u", "shares of a CPU in per cent or in ms per second"},
      {"space, f", "freeze, and go on"},
      {"+ -", "a longer or shorter interval, 0.1 s to 60 s"},
      {". ,", "of a recording: the next sample, the one before; ] and [: by 60"},
      {"h, ?", "help, with the columns of the view"},
      {"q", "quit"},
  };
  return keys;
}

}  // namespace sparectl::top
