// SPDX-License-Identifier: GPL-2.0-only
#include "top/value.hpp"

#include <fmt/format.h>

#include <array>
#include <cmath>

namespace sparectl::top {
namespace {

// Thousands by letters where it does not fit otherwise.
std::string number(double value, int digits, std::size_t width) {
  for (int some = digits; some >= 0; some--) {
    if (std::string text = fmt::format("{:.{}f}", value, some); text.size() <= width) {
      return text == "-0" ? "0" : text;
    }
  }
  constexpr std::array letters = {'k', 'M', 'G', 'T', 'P', 'E'};
  for (const char letter : letters) {
    value /= 1000;
    for (int some = 1; some >= 0; some--) {
      if (std::string text = fmt::format("{:.{}f}{}", value, some, letter); text.size() <= width) {
        return text;
      }
    }
  }
  return std::string(width, '#');
}

}  // namespace

const char* text_of(Unit unit) {
  switch (unit) {
    case Unit::text:
      return "text";
    case Unit::percent:
      return "%";
    case Unit::per_second:
      return "1/s";
    case Unit::count:
      return "number";
    case Unit::us:
      return "us";
    case Unit::ms:
      return "ms";
    case Unit::ppm:
      return "ppm";
  }
  return "";
}

std::string shown(const Value& value, Unit unit, std::size_t width, Shares shares) {
  if (const auto* text = std::get_if<std::string>(&value)) {
    return *text;
  }
  const auto* known = std::get_if<double>(&value);
  if (known == nullptr || std::isnan(*known)) {
    return "-";
  }
  if (std::isinf(*known)) {
    return "inf";
  }
  const double n = *known;
  switch (unit) {
    case Unit::percent:
      return shares == Shares::percent ? number(n, 1, width) : number(n * 10, 1, width);
    case Unit::us:
      return n < 1000 ? number(n, 0, width - 2) + "us" : n < 1e6 ? number(n / 1e3, 1, width - 2) + "ms" : number(n / 1e6, 1, width - 1) + "s";
    case Unit::ms:
      return number(n, 2, width);
    case Unit::per_second:
      return number(n, n != 0 && std::fabs(n) < 10 ? 1 : 0, width);
    case Unit::text:
    case Unit::count:
    case Unit::ppm:
      break;
  }
  return number(n, 0, width);
}

}  // namespace sparectl::top
