// SPDX-License-Identifier: GPL-2.0-only
#pragma once

#include <memory>
#include <optional>

#include "top/grid.hpp"
#include "top/ui.hpp"
#include "util/result.hpp"

struct screen;  // curses'

namespace sparectl::top {

// The terminal, for as long as this lives; then it is as it was before.
class Terminal {
 public:
  // An error: standard input or output is no terminal, or there is no description of it (TERM).
  static spare::Result<Terminal> open(bool color);

  [[nodiscard]] const Glyphs& glyphs() const { return glyphs_; }
  [[nodiscard]] std::size_t width() const;
  [[nodiscard]] std::size_t height() const;
  void show(const Grid& grid) const;
  // The next key that waits; none: there is none. A change of size is no key: width() and height() tell it.
  [[nodiscard]] std::optional<Key> key() const;
  // The whole screen is written anew at the next show().
  void redraw() const;

 private:
  struct Close {
    void operator()(struct ::screen* screen) const;
  };
  Terminal() = default;

  std::unique_ptr<struct ::screen, Close> screen_;
  Glyphs glyphs_;
  bool colors_ = false;
};

}  // namespace sparectl::top
