// SPDX-License-Identifier: GPL-2.0-only
#include "top/terminal.hpp"

#include <curses.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>

namespace sparectl::top {
namespace {

enum Pair : short { pair_good = 1, pair_warn, pair_bad, pair_key, pair_soft };

attr_t attribute_of(Style style, bool colors) {
  const auto pair = [&](Pair number, attr_t otherwise) { return colors ? static_cast<attr_t>(COLOR_PAIR(number)) : otherwise; };
  switch (style) {
    case Style::plain:
      return A_NORMAL;
    case Style::soft:
      return pair(pair_soft, A_NORMAL);
    case Style::title:
      return A_BOLD;
    case Style::good:
      return pair(pair_good, A_NORMAL);
    case Style::warn:
      return pair(pair_warn, A_BOLD);
    case Style::bad:
      return pair(pair_bad, 0) | A_BOLD | (colors ? A_NORMAL : A_UNDERLINE);
    case Style::key:
      return pair(pair_key, A_NORMAL) | A_BOLD | (colors ? A_NORMAL : A_UNDERLINE);
  }
  return A_NORMAL;
}

void use_colors() {
  start_color();
  use_default_colors();
  init_pair(pair_good, COLOR_GREEN, -1);
  init_pair(pair_warn, COLOR_YELLOW, -1);
  init_pair(pair_bad, COLOR_RED, -1);
  init_pair(pair_key, COLOR_CYAN, -1);
  init_pair(pair_soft, COLOR_BLUE, -1);
}

}  // namespace

void Terminal::Close::operator()(struct ::screen* screen) const {
  endwin();
  delscreen(screen);
}

spare::Result<Terminal> Terminal::open(bool color) {
  if (::isatty(STDIN_FILENO) == 0 || ::isatty(STDOUT_FILENO) == 0) {
    return spare::Error{"this is no terminal: sparectl top -b writes text, with --json or --csv for programs"};
  }
  Terminal terminal;
  terminal.glyphs_ = Glyphs::of_locale();
  // (initscr() would end the program where it does not know the terminal.)
  terminal.screen_.reset(newterm(nullptr, stdout, stdin));
  if (!terminal.screen_) {
    const char* name = std::getenv("TERM");
    terminal.screen_.release();
    return spare::Error{fmt::format("there is no description of this terminal (TERM={}): try TERM=vt100, or sparectl top -b", name == nullptr ? "" : name)};
  }
  if (color && has_colors()) {
    use_colors();
    terminal.colors_ = true;
  }
  cbreak();
  noecho();
  nonl();
  nodelay(stdscr, TRUE);
  keypad(stdscr, TRUE);
  set_escdelay(25);
  curs_set(0);
  return terminal;
}

std::size_t Terminal::width() const { return static_cast<std::size_t>(getmaxx(stdscr)); }
std::size_t Terminal::height() const { return static_cast<std::size_t>(getmaxy(stdscr)); }
void Terminal::redraw() const { clearok(stdscr, TRUE); }

// (curses writes what has changed.)
void Terminal::show(const Grid& grid) const {
  ::erase();
  int y = 0;
  for (const Line& line : grid) {
    ::move(y++, 0);
    for (const Span& span : line.spans) {
      attrset(static_cast<int>(line.selected ? A_REVERSE : attribute_of(span.style, colors_)));
      addstr(span.text.c_str());
    }
  }
  attrset(A_NORMAL);
  refresh();
}

std::optional<Key> Terminal::key() const {
  const int code = getch();
  switch (code) {
    case ERR:
      return std::nullopt;
    case KEY_UP:
      return Key{Key::up};
    case KEY_DOWN:
      return Key{Key::down};
    case KEY_PPAGE:
      return Key{Key::page_up};
    case KEY_NPAGE:
      return Key{Key::page_down};
    case KEY_HOME:
      return Key{Key::home};
    case KEY_END:
      return Key{Key::end};
    case KEY_LEFT:
      return Key{Key::left};
    case KEY_RIGHT:
      return Key{Key::right};
    case KEY_ENTER:
    case '\n':
    case '\r':
      return Key{Key::enter};
    case 27:
      return Key{Key::escape};
    case KEY_BACKSPACE:
    case 8:
    case 127:
      return Key{Key::backspace};
    default:
      return code >= ' ' && code < 127 ? Key{Key::character, static_cast<char>(code)} : Key{Key::none};
  }
}

}  // namespace sparectl::top
