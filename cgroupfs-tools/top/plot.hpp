// SPDX-License-Identifier: GPL-2.0-only
//
// Plots over time as inline SVG, for report. Their colours are the page's style sheet's.
#pragma once

#include <string>
#include <vector>

namespace sparectl::top {

struct Series {
  std::string name;
  std::vector<double> values;  // one for each point in time; NaN: not known, the line has a gap
};

struct Plot {
  std::string title, unit;
  std::vector<double> seconds;  // of the points, since the first
  std::vector<Series> series;
  bool stacked = false;
  bool logarithmic = false;
};

// The picture with its legend. Empty: there is nothing to see.
std::string svg_of(const Plot& plot);
// Bars side by side.
std::string svg_of_bars(const std::string& title, const std::vector<std::string>& names, const std::vector<double>& values);
std::string escaped(std::string_view text);

inline constexpr std::size_t plot_colors = 10;  // classes c0 to c9

}  // namespace sparectl::top
