// SPDX-License-Identifier: GPL-2.0-only
//
// A value in a table, and how it is written.
#pragma once

#include <optional>
#include <string>
#include <variant>

namespace sparectl::top {

// Nothing: not known.
using Value = std::variant<std::monostate, double, std::string>;
inline Value of(std::optional<double> value) { return value ? Value(*value) : Value(); }

enum class Unit { text, percent, per_second, count, us, ms, ppm };
const char* text_of(Unit unit);

// How shares of a CPU are shown.
enum class Shares { percent, ms_per_s };

// For people: as many digits as fit into `width` characters, "-" where it is not known.
std::string shown(const Value& value, Unit unit, std::size_t width, Shares shares = Shares::percent);

}  // namespace sparectl::top
