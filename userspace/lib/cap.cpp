// SPDX-License-Identifier: GPL-2.0-only
#include "cap.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "flat_keyed.hpp"
#include "sched_spare/parse.h"
#include "util/files.hpp"

namespace spare {
namespace {

constexpr std::uint64_t least_us = 1000;
constexpr std::uint64_t second_us = 1'000'000, percent_us = second_us / 100;

struct Limit {
  std::uint64_t quota_us, period_us;

  [[nodiscard]] std::string text() const { return fmt::format("{} {}", quota_us, period_us); }
};

std::optional<Limit> limit_of(std::string_view cpu_max) {
  const auto words = split(cpu_max, " ");
  const auto quota = words.size() == 2 ? as_integer(words[0]) : std::nullopt, period = words.size() == 2 ? as_integer(words[1]) : std::nullopt;
  return quota && period && *quota > 0 && *period > 0
             ? std::optional(Limit{static_cast<std::uint64_t>(*quota), static_cast<std::uint64_t>(*period)}) : std::nullopt;
}

std::uint64_t times_to_reach_least(std::uint64_t us) { return (least_us + us - 1) / us; }

}  // namespace

std::string cap_of(const Reservation& reservation, unsigned servers, std::uint64_t inner_ppm) {
  const std::uint64_t period = reservation.period_us, inner = (inner_ppm * period + SPARE_PPM - 1) / SPARE_PPM;
  const std::uint64_t quota = reservation.runtime_us * servers + inner;
  const std::uint64_t times = std::max(times_to_reach_least(quota), times_to_reach_least(period));
  return fmt::format("{} {}", quota * times, period * times);
}

// systemd writes floor(per second * period / 1 s): with the quota per second rounded up, and a period of at most 1 s, that is the quota.
std::optional<UnitQuota> unit_quota(std::string_view cpu_max) {
  const auto limit = limit_of(cpu_max);
  return limit ? std::optional(UnitQuota{(limit->quota_us * second_us + limit->period_us - 1) / limit->period_us, limit->period_us}) : std::nullopt;
}

std::string unit_cap(const std::string& cap) {
  auto limit = limit_of(cap);
  if (!limit) {
    return cap;
  }
  limit->quota_us = std::max(limit->quota_us, (limit->period_us + 99) / 100);
  return limit->text();
}

// As systemd does it (cgroup_cpu_adjust_period() in its src/core/cgroup.c, as of 257).
std::string reloaded_unit_cap(const std::string& cap) {
  const auto told = unit_quota(cap);
  const std::uint64_t per_second = told ? told->per_second_us / percent_us * percent_us : 0;
  if (per_second == 0) {
    return "max 100000";
  }
  const std::uint64_t period = std::min(std::max({told->period_us, least_us, least_us * second_us / per_second}), second_us);
  return Limit{std::max(per_second * period / second_us, least_us), period}.text();
}

std::optional<CapRecord> CapRecord::parse(const std::optional<std::string>& text) {
  const size_t first = text ? text->find('\n') : std::string::npos;
  const size_t second = first == std::string::npos ? first : text->find('\n', first + 1);
  if (second == std::string::npos) {
    return std::nullopt;
  }
  return CapRecord{text->substr(0, first), text->substr(first + 1, second - first - 1), text->substr(second + 1)};
}

CapStep cap_step(const std::string& current, const std::optional<CapRecord>& record, const std::optional<std::string>& wanted,
                 bool of_unit) {
  const bool ours = record && (current == record->written || (!record->former.empty() && current == record->former) ||
                               (of_unit && current == reloaded_unit_cap(record->written)));
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
