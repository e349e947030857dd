// SPDX-License-Identifier: GPL-2.0-only
#include "cap.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "sched_spare/parse.h"

namespace spare {
namespace {

constexpr std::uint64_t least_us = 1000;

std::uint64_t times_to_reach_least(std::uint64_t us) { return (least_us + us - 1) / us; }

}  // namespace

std::string cap_of(const Reservation& reservation, unsigned servers, std::uint64_t inner_ppm) {
  const std::uint64_t period = reservation.period_us, inner = (inner_ppm * period + SPARE_PPM - 1) / SPARE_PPM;
  const std::uint64_t quota = reservation.runtime_us * servers + inner;
  const std::uint64_t times = std::max(times_to_reach_least(quota), times_to_reach_least(period));
  return fmt::format("{} {}", quota * times, period * times);
}

std::optional<CapRecord> CapRecord::parse(const std::optional<std::string>& text) {
  const size_t first = text ? text->find('\n') : std::string::npos;
  const size_t second = first == std::string::npos ? first : text->find('\n', first + 1);
  if (second == std::string::npos) {
    return std::nullopt;
  }
  return CapRecord{text->substr(0, first), text->substr(first + 1, second - first - 1), text->substr(second + 1)};
}

CapStep cap_step(const std::string& current, const std::optional<CapRecord>& record, const std::optional<std::string>& wanted) {
  const bool ours = record && (current == record->written || (!record->former.empty() && current == record->former));
  const std::string operators = ours ? record->operators : current;
  CapStep step;
  if (!wanted) {
    step.forget = record.has_value();
    if (ours) {
      step.write = operators;
    }
    return step;
  }
  const CapRecord next{operators, *wanted, ours && current != *wanted ? current : std::string()};
  if (record != next) {
    step.record = next;
  }
  if (current != *wanted) {
    step.write = *wanted;
  }
  return step;
}

}  // namespace spare
