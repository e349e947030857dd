// SPDX-License-Identifier: GPL-2.0-only
#include "duration.hpp"

#include <fmt/format.h>

#include <array>
#include <charconv>
#include <cmath>
#include <limits>

#include "sched_spare/parse.h"
#include "util/files.hpp"

namespace spare {
namespace {

struct Unit {
  std::string_view name;
  std::uint64_t us;
};
constexpr std::array<Unit, 4> units = {{{"us", 1}, {"ms", 1000}, {"s", 1'000'000}, {"", 1}}};

constexpr std::string_view form =
    "a duration is a number with us, ms or s behind it, as 40ms or 0.4s; without a unit it is microseconds";

constexpr std::string_view default_period = "100ms";  // of a reservation in per cent

// "40%", "2.5%": of that period, in microseconds, rounded to the nearest.
std::optional<std::uint64_t> parse_percent(std::string_view text, std::uint64_t period_us) {
  double percent = 0;
  const auto [end, failed] = std::from_chars(text.data(), text.data() + text.size() - 1, percent, std::chars_format::fixed);
  if (failed != std::errc() || end != text.data() + text.size() - 1 || !(percent > 0 && percent <= 100)) {
    return std::nullopt;
  }
  return static_cast<std::uint64_t>(std::llround(percent * static_cast<double>(period_us) / 100));
}

Error malformed(std::string_view text) { return {fmt::format("'{}' is not a duration: {}", text, form), EINVAL}; }

}  // namespace

Result<std::uint64_t> parse_duration_us(std::string_view text) {
  const size_t digits = std::min(text.find_first_not_of("0123456789"), text.size());
  std::uint64_t whole = 0;
  const auto [end, failed] = std::from_chars(text.data(), text.data() + digits, whole);
  if (failed == std::errc::result_out_of_range) {
    return Error{fmt::format("'{}' is too long a time", text), ERANGE};
  }
  if (digits == 0 || failed != std::errc()) {
    return malformed(text);
  }
  std::string_view rest = text.substr(digits);
  std::string_view fraction;
  if (rest.starts_with('.')) {
    rest.remove_prefix(1);
    const size_t n = std::min(rest.find_first_not_of("0123456789"), rest.size());
    if (n == 0) {
      return malformed(text);
    }
    fraction = rest.substr(0, n);
    rest.remove_prefix(n);
  }
  for (const Unit& unit : units) {
    if (rest != unit.name) {
      continue;
    }
    if (whole > std::numeric_limits<std::uint64_t>::max() / unit.us / 2) {
      return Error{fmt::format("'{}' is too long a time", text), ERANGE};
    }
    std::uint64_t value = whole * unit.us;
    std::uint64_t place = unit.us;
    for (const char digit : fraction) {
      if (place % 10 != 0 && digit != '0') {
        return Error{fmt::format("'{}' is finer than a microsecond", text), EINVAL};
      }
      place /= 10;
      value += static_cast<std::uint64_t>(digit - '0') * place;
    }
    return value;
  }
  return malformed(text);
}

std::string Reservation::kernel_form() const { return fmt::format("{} {}", runtime_us, period_us); }

Result<std::optional<Reservation>> parse_reservation(std::string_view text) {
  const std::string_view trimmed = trim(text);
  if (trimmed == "max" || trimmed == "none") {
    return std::optional<Reservation>();
  }
  auto parts = split(trimmed, "/ ");
  const bool percent = !parts.empty() && parts[0].ends_with('%');
  if (percent && parts.size() == 1) {
    parts.emplace_back(default_period);
  }
  if (parts.size() != 2) {
    return Error{fmt::format("'{}' is not a reservation: it is runtime/period, as 40ms/100ms, a part of each CPU, as 40%, or max for none", text),
                 EINVAL};
  }
  const auto period = parse_duration_us(parts[1]);
  if (!period) {
    return period.error();
  }
  const auto part = percent ? parse_percent(parts[0], *period) : std::nullopt;
  if (percent && !part) {
    return Error{fmt::format("'{}' is not a part of a CPU: it is more than 0 and at most 100 %, as 40% or 2.5%", text), EINVAL};
  }
  const auto runtime = part ? Result<std::uint64_t>(*part) : parse_duration_us(parts[0]);
  if (!runtime) {
    return runtime.error();
  }
  const Reservation result{*runtime, *period};
  if (result.runtime_us > result.period_us) {
    return Error{fmt::format("'{}': the runtime is longer than the period", text), EINVAL};
  }
  if (result.period_us < SPARE_PERIOD_MIN_US || result.period_us > SPARE_PERIOD_MAX_US) {
    return Error{fmt::format("'{}': the period must lie between {} and {}", text, format_us(SPARE_PERIOD_MIN_US),
                             format_us(SPARE_PERIOD_MAX_US)), ERANGE};
  }
  if (result.runtime_us < SPARE_RUNTIME_MIN_US) {
    return Error{fmt::format("'{}': the runtime must be at least {}", text, format_us(SPARE_RUNTIME_MIN_US)), ERANGE};
  }
  if (result.runtime_us * SPARE_PPM < result.period_us * static_cast<std::uint64_t>(SPARE_UTIL_MIN_PPM)) {
    return Error{fmt::format("'{}': the runtime must be at least {} % of the period", text, static_cast<unsigned>(SPARE_UTIL_MIN_PPM) / 1e4), ERANGE};
  }
  return std::optional(result);
}

std::uint32_t utilization_ppm(const Reservation& reservation) {
  return spare_util_ppm(static_cast<__u32>(reservation.runtime_us), static_cast<__u32>(reservation.period_us));
}

std::string format_ppm(std::uint32_t ppm) { return fmt::format("{:.6g} %", ppm / 1e4); }

std::string format_us(std::uint64_t us) {
  if (us != 0 && us % 1'000'000 == 0) {
    return fmt::format("{}s", us / 1'000'000);
  }
  return us >= 1000 ? fmt::format("{}ms", static_cast<double>(us) / 1000) : fmt::format("{}us", us);
}

std::string format_reservation(const std::optional<Reservation>& reservation) {
  return reservation ? format_us(reservation->runtime_us) + "/" + format_us(reservation->period_us) : "max";
}

}  // namespace spare
