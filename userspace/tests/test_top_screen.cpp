// SPDX-License-Identifier: GPL-2.0-only
#include <catch2/catch_approx.hpp>
#include <catch2/catch_test_macros.hpp>
#include <clocale>

#include "top/screen.hpp"
#include "top_samples.hpp"

using top::Counter;
using top::Glyphs;
using top::Key;

namespace {

const bool utf8_locale = std::setlocale(LC_CTYPE, "C.UTF-8") != nullptr;
constexpr Glyphs utf8{true}, plain{false};

top::Interval crowd(std::size_t n) {
  std::vector<top::VmSample> vms;
  for (std::size_t i = 0; i < n; i++) {
    vms.push_back(vm_of("/vm/web-server-with-a-long-name-" + std::to_string(i), {{Counter::used_ns, 1000 * i}, {top::lat(3), i}}));
    vms.back().servers = {{1, top::ServerState::throttled, false, -500000, 1000000, 5}};
  }
  return second_of(std::move(vms));
}

top::Screen shown(top::Ui& ui, const top::Interval& interval, std::size_t width, std::size_t height, const Glyphs& glyphs = utf8) {
  return top::draw(ui, interval, interval, {}, width, height, glyphs, "");
}

std::string text_of(const top::Grid& grid) {
  std::string all;
  for (const top::Line& line : grid) {
    all += line.text() + "\n";
  }
  return all;
}

Key letter(char c) { return {Key::character, c}; }

void type(top::Ui& ui, const std::string& text, const top::Shown& on) {
  for (const char c : text) {
    press(ui, letter(c), on);
  }
}

// What every screen must be.
void check(const top::Screen& screen, std::size_t width, std::size_t height, const Glyphs& glyphs) {
  REQUIRE(screen.grid.size() <= height);
  std::size_t selected = 0;
  for (const top::Line& line : screen.grid) {
    const std::string text = line.text();
    REQUIRE(top::width_of(text, glyphs) <= width);
    selected += line.selected ? 1 : 0;
    for (const char c : text) {
      const auto byte = static_cast<unsigned char>(c);
      REQUIRE(byte >= 0x20);
      REQUIRE((glyphs.utf8 || byte < 0x7f));
    }
  }
  REQUIRE(selected <= 1);
}

}  // namespace

TEST_CASE("top: 80x24: a thousand VMs, the selected one is always on the screen") {
  REQUIRE(utf8_locale);
  const auto interval = crowd(1000);
  top::Ui ui;
  top::Screen screen = shown(ui, interval, 80, 24);
  check(screen, 80, 24, utf8);
  CHECK(screen.shown.keys.size() == 1000);
  CHECK(screen.shown.page == 19);
  CHECK(screen.grid[4].selected);
  for (const auto name : {Key::down, Key::page_down, Key::end, Key::up, Key::page_up, Key::home, Key::end}) {
    for (int i = 0; i < 30; i++) {
      press(ui, {name}, screen.shown);
      screen = shown(ui, interval, 80, 24);
      REQUIRE(std::count_if(screen.grid.begin(), screen.grid.end(), [](const top::Line& line) { return line.selected; }) == 1);
      REQUIRE(screen.grid.size() == 24);
    }
  }
  CHECK(screen.grid[22].selected);
}

TEST_CASE("top: the selection stays with its VM when the order changes") {
  top::Ui ui;
  auto screen = shown(ui, crowd(10), 80, 24);
  press(ui, {Key::down}, screen.shown);
  const std::string chosen = ui.selected;
  press(ui, letter('r'), screen.shown);
  screen = shown(ui, crowd(10), 80, 24);
  CHECK(screen.shown.keys[top::selected_row(ui, screen.shown.keys)] == chosen);
  CHECK(screen.shown.keys.back() == "/vm/web-server-with-a-long-name-9");
}

TEST_CASE("top: filter: typed, kept by Enter, given up by Esc; letters are no keys meanwhile") {
  top::Ui ui;
  auto screen = shown(ui, crowd(20), 80, 24);
  type(ui, "/name-1q", screen.shown);
  CHECK((!ui.quit && ui.typing && ui.filter == "name-1q"));
  press(ui, {Key::backspace}, screen.shown);
  press(ui, {Key::enter}, screen.shown);
  screen = shown(ui, crowd(20), 80, 24);
  CHECK(screen.shown.keys.size() == 11);
  CHECK(screen.grid[0].text().find("/name-1") != std::string::npos);
  press(ui, {Key::escape}, screen.shown);
  CHECK(shown(ui, crowd(20), 80, 24).shown.keys.size() == 20);
  type(ui, "/none", screen.shown);
  CHECK(text_of(shown(ui, crowd(20), 80, 24).grid).find("no name has 'none' in it") != std::string::npos);
}

TEST_CASE("top: a locale without UTF-8 shows no byte that is none of its own") {
  auto vm = vm_of("/vm/b\xc3\xbc" "cher-\xe4\xb8\xad\xe6\x96\x87", {{top::lat(3), 9}});
  const auto interval = second_of({vm});
  for (const top::View& view : top::all_views()) {
    for (const auto panel : {top::Panel::none, top::Panel::help, top::Panel::detail, top::Panel::why}) {
      for (const Glyphs& glyphs : {utf8, plain}) {
        top::Ui ui;
        ui.view = &view;
        ui.panel = panel;
        check(shown(ui, interval, 80, 24, glyphs), 80, 24, glyphs);
      }
    }
  }
  top::Ui ui;
  CHECK(text_of(shown(ui, interval, 80, 24, plain).grid).find("b?cher-??") != std::string::npos);
  CHECK(text_of(shown(ui, interval, 80, 24, utf8).grid).find("b\xc3\xbc" "cher-\xe4\xb8\xad\xe6\x96\x87") != std::string::npos);
}

TEST_CASE("top: wide characters are cut where they do not fit in whole") {
  CHECK(top::fit("\xe4\xb8\xad\xe6\x96\x87", 4, false, utf8) == "\xe4\xb8\xad\xe6\x96\x87");
  CHECK(top::fit("\xe4\xb8\xad\xe6\x96\x87", 3, false, utf8) == "\xe4\xb8\xad\xe2\x80\xa6");
  CHECK(top::width_of(top::fit("\xe4\xb8\xad\xe6\x96\x87", 2, false, utf8), utf8) == 2);
  CHECK(top::fit("abc", 5, true, utf8) == "  abc");
  CHECK(top::fit("abcdef", 4, false, plain) == "abc~");
  CHECK(top::fit("a\nb\x1b", 4, false, plain) == "a?b?");
}

TEST_CASE("top: why and servers of the selected VM, below the table") {
  top::Ui ui;
  auto vm = vm_of("/vm/a", {{Counter::throttled_ns, 600000000}});
  vm.servers = {{7, top::ServerState::throttled, false, -2500000, 2005000000, 0}};
  const auto interval = second_of({vm});
  auto screen = shown(ui, interval, 80, 24);
  press(ui, letter('w'), screen.shown);
  CHECK(text_of(shown(ui, interval, 80, 24).grid).find("60 % of the time its budget (40ms/100ms) is used up") != std::string::npos);
  press(ui, {Key::enter}, screen.shown);
  const std::string servers = text_of(shown(ui, interval, 80, 24).grid);
  CHECK(servers.find("    7  throttled     -2.50         5.00") != std::string::npos);
  press(ui, {Key::escape}, screen.shown);
  CHECK(ui.panel == top::Panel::none);
}

TEST_CASE("top: keys: sort, units, interval, views, freeze, columns") {
  top::Ui ui;
  const auto interval = crowd(3);
  auto on = shown(ui, interval, 80, 24).shown;
  on.interval = &interval;
  const std::string sorted = ui.sort_column().id;
  press(ui, letter('>'), on);
  CHECK(ui.sort_column().id != sorted);
  press(ui, letter('<'), on);
  CHECK(ui.sort_column().id == sorted);
  press(ui, letter('u'), on);
  CHECK(ui.shares == top::Shares::ms_per_s);
  for (int i = 0; i < 20; i++) {
    press(ui, letter('-'), on);
  }
  CHECK(ui.delay_s == Catch::Approx(0.1));
  for (int i = 0; i < 20; i++) {
    press(ui, letter('+'), on);
  }
  CHECK(ui.delay_s == Catch::Approx(60));
  press(ui, letter('4'), on);
  CHECK(ui.view->id == std::string("latency"));
  press(ui, letter('6'), on);  // no meter, no bill
  CHECK(ui.view->id == std::string("latency"));
  press(ui, letter(' '), on);
  CHECK(ui.frozen);
  press(ui, letter('1'), on);
  const std::string first = shown(ui, interval, 80, 24).grid[3].text();
  press(ui, {Key::right}, on);
  CHECK(shown(ui, interval, 80, 24).grid[3].text() != first);
  press(ui, letter('q'), on);
  CHECK(ui.quit);
}

TEST_CASE("top: any keys on any screen: no line is too long, nothing is out of bounds") {
  std::mt19937_64 random(12);
  top::Sample before = sample_of(0, {});
  for (int round = 0; round < 60; round++) {
    const top::Sample now = random_successor(before, random);
    const top::Interval interval(shared(before), shared(now));
    before = now;
    top::Ui ui;
    top::Shown on;
    for (int i = 0; i < 40; i++) {
      const std::size_t width = 1 + random() % 220, height = 1 + random() % 60;
      const Glyphs glyphs{random() % 2 == 0};
      ui.replay = random() % 3 == 0;
      const auto screen = shown(ui, interval, width, height, glyphs);
      check(screen, width, height, glyphs);
      on = screen.shown;
      on.interval = &interval;
      press(ui, random() % 3 == 0 ? letter(static_cast<char>(' ' + random() % 95)) : Key{static_cast<Key::Name>(random() % (Key::none + 1)), 'x'}, on);
      ui.quit = false;
    }
  }
}
