// SPDX-License-Identifier: GPL-2.0-only
//
// A screen as text with styles, before it is on a terminal.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace sparectl::top {

enum class Style : std::uint8_t { plain, soft, title, good, warn, bad, key };

// What the terminal can show.
struct Glyphs {
  bool utf8 = false;
  [[nodiscard]] std::string_view cut() const { return utf8 ? "…" : "~"; }
  [[nodiscard]] std::string_view up() const { return utf8 ? "▲" : "^"; }
  [[nodiscard]] std::string_view down() const { return utf8 ? "▼" : "v"; }
  // Those of the locale in the environment, which this program has from then on.
  static Glyphs of_locale();
  // A height from 0 to 9.
  [[nodiscard]] std::string_view block(unsigned height) const;
};

struct Span {
  Style style = Style::plain;
  std::string text;
};

struct Line {
  std::vector<Span> spans;
  bool selected = false;

  Line& add(Style style, std::string text) {
    spans.push_back({style, std::move(text)});
    return *this;
  }
  [[nodiscard]] std::string text() const;
};

using Grid = std::vector<Line>;

// Columns that a text takes. In UTF-8 as the locale has it; else each byte is one.
std::size_t width_of(std::string_view text, const Glyphs& glyphs);
// Exactly `width` columns of it: cut off, or filled with blanks, to the left of it where `right`. What the terminal cannot show is a question mark.
std::string fit(std::string_view text, std::size_t width, bool right, const Glyphs& glyphs);
// At most `width` columns of a line.
void clip(Line& line, std::size_t width, const Glyphs& glyphs);
// Words of a text in lines of at most `width` columns.
std::vector<std::string> wrap(std::string_view text, std::size_t width, const Glyphs& glyphs);

}  // namespace sparectl::top
