// SPDX-License-Identifier: GPL-2.0-only
#include "top/plot.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <iterator>

namespace sparectl::top {
namespace {

constexpr double plot_width = 980, plot_height = 260, plot_left = 62, plot_right = 14, plot_top = 12, plot_bottom = 34;

// 1, 2 or 5 times a power of ten, about a fifth of the range.
double step_of(double range) {
  const double raw = std::max(range, 1e-9) / 5, power = std::pow(10, std::floor(std::log10(raw)));
  return raw / power <= 1 ? power : raw / power <= 2 ? 2 * power : raw / power <= 5 ? 5 * power : 10 * power;
}

std::string clock_of(double seconds) {
  const auto s = static_cast<long>(std::lround(seconds));
  return s >= 3600 ? fmt::format("{}:{:02}:{:02}", s / 3600, s / 60 % 60, s % 60) : s >= 60 ? fmt::format("{}:{:02}", s / 60, s % 60) : fmt::format("{:g} s", seconds);
}

struct Axes {
  double until, low, high;
  bool logarithmic;
  [[nodiscard]] double x(double seconds) const { return plot_left + (until > 0 ? seconds / until : 0) * (plot_width - plot_left - plot_right); }
  [[nodiscard]] double y(double value) const {
    const double part = logarithmic ? std::log(std::max(value, low) / low) / std::log(high / low) : (value - low) / (high - low);
    return plot_height - plot_bottom - std::clamp(part, 0.0, 1.0) * (plot_height - plot_top - plot_bottom);
  }
};

std::string grid_of(const Axes& axes, const std::string& unit) {
  std::string out;
  const auto line = [&](double value) {
    fmt::format_to(std::back_inserter(out), R"(<path d="M{:.1f},{:.1f}H{:.1f}" class="grid"/><text x="{:.1f}" y="{:.1f}" text-anchor="end" class="s">{:g}</text>)", plot_left, axes.y(value),
                   plot_width - plot_right, plot_left - 8, axes.y(value) + 4, value);
  };
  if (axes.logarithmic) {
    for (double value = std::pow(10, std::ceil(std::log10(axes.low))); value <= axes.high; value *= 10) {
      line(value);
    }
  } else {
    for (double value = axes.low; value <= axes.high * 1.0001; value += step_of(axes.high - axes.low)) {
      line(std::fabs(value) < 1e-12 ? 0 : value);
    }
  }
  const double step = axes.until > 100 ? std::max(60.0, 60 * std::ceil(step_of(axes.until) / 60)) : step_of(axes.until);
  for (double t = 0; t <= axes.until * 1.0001; t += step) {
    fmt::format_to(std::back_inserter(out), R"(<text x="{:.1f}" y="{:.1f}" text-anchor="middle" class="s">{}</text>)", axes.x(t), plot_height - plot_bottom + 20, clock_of(t));
  }
  fmt::format_to(std::back_inserter(out), R"(<text x="{:.1f}" y="{:.1f}" class="s">{}</text>)", plot_left + 6, plot_top + 10, escaped(unit));
  return out;
}

std::string area(const Plot& plot, const Axes& axes, const std::vector<double>& low, const std::vector<double>& high, std::size_t color, const std::string& name) {
  std::string path;
  for (std::size_t i = 0; i < high.size(); i++) {
    path += fmt::format("{}{:.1f},{:.1f}", i == 0 ? "M" : "L", axes.x(plot.seconds[i]), axes.y(high[i]));
  }
  for (std::size_t i = high.size(); i-- > 0;) {
    path += fmt::format("L{:.1f},{:.1f}", axes.x(plot.seconds[i]), axes.y(low[i]));
  }
  return fmt::format(R"(<path d="{}Z" class="a c{}"><title>{}</title></path>)", path, color, escaped(name));
}

std::string line_of(const Plot& plot, const Axes& axes, const Series& series, std::size_t color) {
  std::string path;
  bool pen = false;
  for (std::size_t i = 0; i < series.values.size(); i++) {
    if (std::isnan(series.values[i])) {
      pen = false;
      continue;
    }
    // A point between two gaps is a dot: a line of no length with round ends.
    const std::string at = fmt::format("{:.1f},{:.1f}", axes.x(plot.seconds[i]), axes.y(series.values[i]));
    path += pen ? "L" + at : "M" + at + "L" + at;
    pen = true;
  }
  return fmt::format(R"(<path d="{}" class="l c{}"><title>{}</title></path>)", path, color, escaped(series.name));
}

std::string legend_of(const Plot& plot) {
  std::string out = "<p class=legend>";
  for (std::size_t i = 0; i < plot.series.size(); i++) {
    out += fmt::format(R"(<span><i class="d c{}"></i>{}</span> )", i % plot_colors, escaped(plot.series[i].name));
  }
  return out + "</p>";
}

std::string figure(const std::string& title, const std::string& body, const std::string& legend) {
  return fmt::format(R"(<figure><figcaption>{}</figcaption><svg viewBox="0 0 {:.0f} {:.0f}" role="img" aria-label="{}">{}</svg>{}</figure>)", escaped(title), plot_width, plot_height, escaped(title), body, legend);
}

}  // namespace

std::string escaped(std::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      case '\'':
        out += "&#39;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

std::string svg_of(const Plot& plot) {
  double most = 0, least = 0;
  std::vector<double> sum(plot.seconds.size(), 0);
  for (const Series& series : plot.series) {
    for (std::size_t i = 0; i < series.values.size(); i++) {
      const double value = series.values[i];
      if (!std::isnan(value)) {
        sum[i] += value;
        most = std::max(most, plot.stacked ? sum[i] : value);
        least = plot.logarithmic && value > 0 && (least == 0 || value < least) ? value : least;
      }
    }
  }
  if (plot.seconds.size() < 2 || most <= 0) {
    return {};
  }
  const double step = step_of(most);
  const Axes axes{plot.seconds.back(), plot.logarithmic ? least / 1.5 : 0, plot.logarithmic ? most * 1.5 : step * std::ceil(most / step), plot.logarithmic};
  std::string body = grid_of(axes, plot.unit);
  std::vector<double> below(plot.seconds.size(), 0);
  for (std::size_t k = 0; k < plot.series.size(); k++) {
    const Series& series = plot.series[k];
    if (!plot.stacked) {
      body += line_of(plot, axes, series, k % plot_colors);
      continue;
    }
    std::vector<double> above = below;
    for (std::size_t i = 0; i < series.values.size(); i++) {
      above[i] += std::isnan(series.values[i]) ? 0 : series.values[i];
    }
    body += area(plot, axes, below, above, k % plot_colors, series.name);
    below = std::move(above);
  }
  return figure(plot.title, body, legend_of(plot));
}

std::string svg_of_bars(const std::string& title, const std::vector<std::string>& names, const std::vector<double>& values) {
  const double most = values.empty() ? 0 : *std::max_element(values.begin(), values.end());
  if (most <= 0) {
    return {};
  }
  const double each = (plot_width - plot_left - plot_right) / static_cast<double>(values.size());
  const double step = step_of(most);
  const Axes axes{0, 0, step * std::ceil(most / step), false};
  std::string body;
  for (double value = 0; value <= axes.high * 1.0001; value += step) {
    body += fmt::format(R"(<path d="M{:.1f},{:.1f}H{:.1f}" class="grid"/><text x="{:.1f}" y="{:.1f}" text-anchor="end" class="s">{:g}</text>)", plot_left, axes.y(value), plot_width - plot_right, plot_left - 8, axes.y(value) + 4, value);
  }
  for (std::size_t i = 0; i < values.size(); i++) {
    const double x = plot_left + each * static_cast<double>(i);
    body += fmt::format(R"(<path d="M{:.1f},{:.1f}V{:.1f}H{:.1f}V{:.1f}Z" class="a c0"><title>{}: {:g}</title></path><text x="{:.1f}" y="{:.1f}" text-anchor="middle" class="s">{}</text>)", x + 3, axes.y(0), axes.y(values[i]),
                        x + each - 3, axes.y(0), escaped(names[i]), values[i], x + each / 2, plot_height - plot_bottom + 20, escaped(names[i]));
  }
  return figure(title, body, "");
}

}  // namespace sparectl::top
