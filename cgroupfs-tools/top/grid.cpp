// SPDX-License-Identifier: GPL-2.0-only
#include "top/grid.hpp"

#include <langinfo.h>

#include <algorithm>
#include <array>
#include <clocale>
#include <cstring>
#include <cwchar>

#include "util/files.hpp"

namespace sparectl::top {
namespace {

struct Glyph {
  std::string_view bytes;
  std::size_t width;  // 0: it joins the one before
  bool known;         // it can be shown
};

// The next one; text is not empty. (What is shown went through printable(): it is well-formed.)
Glyph next(std::string_view text, const Glyphs& glyphs) {
  const auto first = static_cast<unsigned char>(text[0]);
  if (first < 0x80) {
    return {text.substr(0, 1), 1, first >= 0x20 && first != 0x7f};
  }
  if (!glyphs.utf8) {
    std::size_t n = 1;  // one question mark for a character, not for each of its bytes
    while (n < text.size() && (static_cast<unsigned char>(text[n]) & 0xc0) == 0x80) {
      n++;
    }
    return {text.substr(0, n), 1, false};
  }
  std::mbstate_t state{};
  wchar_t wide = 0;
  const std::size_t n = std::mbrtowc(&wide, text.data(), text.size(), &state);
  if (n == 0 || n > text.size()) {
    return {text.substr(0, 1), 1, false};
  }
  const int width = ::wcwidth(wide);
  return width < 0 ? Glyph{text.substr(0, n), 1, false} : Glyph{text.substr(0, n), static_cast<std::size_t>(width), true};
}

}  // namespace

Glyphs Glyphs::of_locale() {
  std::setlocale(LC_CTYPE, "");
  return {std::strcmp(nl_langinfo(CODESET), "UTF-8") == 0};
}

std::string_view Glyphs::block(unsigned height) const {
  static constexpr std::array<std::string_view, 10> blocks = {" ", "▁", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
  static constexpr std::array<std::string_view, 10> digits = {" ", ".", ".", ":", ":", "-", "=", "+", "*", "#"};
  return (utf8 ? blocks : digits)[std::min(height, 9U)];
}

std::string Line::text() const {
  std::string all;
  for (const Span& span : spans) {
    all += span.text;
  }
  return all;
}

std::size_t width_of(std::string_view text, const Glyphs& glyphs) {
  std::size_t width = 0;
  while (!text.empty()) {
    const Glyph glyph = next(text, glyphs);
    width += glyph.width;
    text.remove_prefix(glyph.bytes.size());
  }
  return width;
}

std::string fit(std::string_view text, std::size_t width, bool right, const Glyphs& glyphs) {
  if (width == 0) {
    return {};
  }
  const bool cut = width_of(text, glyphs) > width;
  std::string out;
  std::size_t taken = 0;
  while (!text.empty()) {
    const Glyph glyph = next(text, glyphs);
    if (taken + glyph.width > width - (cut ? 1 : 0)) {
      break;
    }
    out += glyph.known ? glyph.bytes : std::string_view("?");
    taken += glyph.width;
    text.remove_prefix(glyph.bytes.size());
  }
  if (cut) {
    out += glyphs.cut();
    taken++;
  }
  const std::string blanks(width - taken, ' ');
  return right ? blanks + out : out + blanks;
}

void clip(Line& line, std::size_t width, const Glyphs& glyphs) {
  std::size_t left = width;
  for (Span& span : line.spans) {
    const std::size_t own = std::min(width_of(span.text, glyphs), left);
    span.text = fit(span.text, own, false, glyphs);
    left -= own;
  }
}

std::vector<std::string> wrap(std::string_view text, std::size_t width, const Glyphs& glyphs) {
  std::vector<std::string> lines;
  for (const std::string& word : spare::split(text, " ")) {
    if (!lines.empty() && width_of(lines.back(), glyphs) + 1 + width_of(word, glyphs) <= width) {
      lines.back() += " " + word;
    } else {
      lines.push_back(word);
    }
  }
  return lines;
}

}  // namespace sparectl::top
