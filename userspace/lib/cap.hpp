// SPDX-License-Identifier: GPL-2.0-only
//
// LIFE-2: a reservation mirrored into cpu.max, for the day on which the class does not run. Pure: no file is read here.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "duration.hpp"

namespace spare {

// n servers of Q/P as cpu.max takes them: "$QUOTA $PERIOD" in microseconds, with the same ratio exactly, both at least 1 ms (the
// kernel's least) and the period at most 1 s. 1 <= servers; Q and P within CBS-7. inner_ppm: of a CPU, what cgroups below have of their
// own (CBS-10): the kernel counts their threads here too. It is rounded up to a microsecond per period.
std::string cap_of(const Reservation& reservation, unsigned servers, std::uint64_t inner_ppm = 0);

// cpu.max of a unit as systemd is told it (CPUQuotaPerSecUSec, CPUQuotaPeriodUSec): it makes of it the cpu.max that was meant, exactly. Nothing:
// no limit ("max ...").
struct UnitQuota {
  std::uint64_t per_second_us, period_us;
};
std::optional<UnitQuota> unit_quota(std::string_view cpu_max);
// But for daemon-reload systemd keeps whole per cents of a CPU, rounded down, and no limit where that is 0. So a unit gets 1 % at least.
std::string unit_cap(const std::string& cap);
// What cpu.max of a unit that was told `cap` reads after a daemon-reload.
std::string reloaded_unit_cap(const std::string& cap);

// What is remembered while a cap is in place.
struct CapRecord {
  std::string operators;  // cpu.max as the operator had it
  std::string written;    // what is written over it
  std::string former;     // while `written` changes: what was there before

  [[nodiscard]] std::string text() const { return operators + "\n" + written + "\n" + former; }
  bool operator==(const CapRecord&) const = default;
  static std::optional<CapRecord> parse(const std::optional<std::string>& text);
};

// What to do about one cgroup: `record` first, then `write`, then `forget`; then ask again, until there is nothing left to do. A
// daemon killed between any two of them finds at its restart either the operator's value in place or a record of it.
struct CapStep {
  std::optional<CapRecord> record;
  std::optional<std::string> write;
  bool forget = false;

  [[nodiscard]] bool nothing() const { return !record && !write && !forget; }
};

// current: cpu.max as it reads; wanted: cap_of(), nothing when the cgroup has no server. A value in cpu.max that spared has not
// written is the operator's, also one that came while the cap was in place. of_unit: systemd writes cpu.max; what a daemon-reload has made of
// spared's value is spared's.
CapStep cap_step(const std::string& current, const std::optional<CapRecord>& record, const std::optional<std::string>& wanted,
                 bool of_unit = false);

}  // namespace spare
