// SPDX-License-Identifier: GPL-2.0-only
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "util/result.hpp"

namespace spare {

// "40ms", "400us", "0.4s", "4000" (microseconds) -> microseconds. Not negative, no more than a thousandth of a microsecond
// may be lost: "0.5us" is refused.
Result<std::uint64_t> parse_duration_us(std::string_view text);

// A runtime per period in microseconds (CBS-1).
struct Reservation {
  std::uint64_t runtime_us = 0;
  std::uint64_t period_us = 0;

  [[nodiscard]] double utilisation() const {
    return static_cast<double>(runtime_us) / static_cast<double>(period_us);
  }
  // "40000 100000", as the kernel's file takes it.
  [[nodiscard]] std::string kernel_form() const;
  bool operator==(const Reservation&) const = default;
};

// "40ms/100ms", "40000/100000", "40000 100000", "40%" and "40%/10ms" (of a CPU; of 100 ms unless said) -> a reservation; "max" or "none" -> nothing. Q <= P and CBS-7's limits are
// checked here too, so that the message can say which one was broken.
Result<std::optional<Reservation>> parse_reservation(std::string_view text);

// Parts per million of a CPU, rounded up as admission does.
std::uint32_t utilization_ppm(const Reservation& reservation);
// 490000 -> "49 %", 12345 -> "1.2345 %"
std::string format_ppm(std::uint32_t ppm);

// 40000 -> "40ms", 400 -> "400us", 1500 -> "1.5ms".
std::string format_us(std::uint64_t us);
std::string format_reservation(const std::optional<Reservation>& reservation);

}  // namespace spare
