// SPDX-License-Identifier: GPL-2.0-only
#include <algorithm>
#include <cmath>
#include <optional>

#include "calibrate.hpp"

namespace spare {
namespace {

std::optional<LeastSquares::Fit> fit_without(const std::vector<Measured>& measured, std::size_t columns, std::size_t left_out) {
  LeastSquares sums(columns);
  for (std::size_t i = 0; i < measured.size(); i++) {
    if (i % (measured.size() / 2) == left_out) {
      continue;
    }
    // All loads cost 1, by amounts that are so much less: they count alike.
    PacketAmounts parts = measured[i].amounts;
    for (double& part : parts) {
      part /= measured[i].billed_ns;
    }
    sums.add(parts, 1);
  }
  return sums.fit();
}

Calibrated calibrated(const std::vector<Measured>& measured, std::size_t columns) {
  const std::size_t loads = measured.size() / 2;
  Calibrated result{fit_without(measured, columns, loads).value_or(LeastSquares::Fit{}), {}};
  for (std::size_t i = 0; i < loads; i++) {
    const auto others = fit_without(measured, columns, i);
    const auto predicted = [&](const Measured& m) { return others ? others->cost(m.amounts) / m.billed_ns : 0; };
    result.off.push_back((predicted(measured[i]) + predicted(measured[i + loads])) / 2 - 1);
  }
  return result;
}

}  // namespace

// Sizes and batches of which each but the largest lies between two others: what is beyond those that a fit has seen is a guess (a fit of packets up
// to 4 KB was 42 % off at 64 KB). What is larger than 1472 bytes is a TCP segment that nobody has cut yet.
std::vector<Load> calibration_loads() {
  std::vector<Load> loads;
  for (const bool to_guest : {false, true}) {
    for (const std::size_t size : {64U, 512U, 1472U}) {
      for (const unsigned batch : {1U, 4U, 16U}) {
        loads.push_back({to_guest, Cut::none, size, batch});
      }
    }
    for (const std::size_t size : {4096U, 16384U, 32768U, 65000U}) {
      loads.push_back({to_guest, Cut::tcp, size, 1});
    }
  }
  return loads;
}

Result<Calibration> calibrate_from(std::vector<Measured> measured) {
  if (measured.size() < 2 || std::any_of(measured.begin(), measured.end(), [](const Measured& m) { return !(m.billed_ns > 0 && std::isfinite(m.each_ns())); })) {
    return Error{"for some loads nothing was billed, or no packet came through"};
  }
  Calibration result{std::move(measured), {}, {}};
  const std::size_t loads = result.loads();
  for (std::size_t i = 0; i < loads; i++) {
    const double one = result.measured[i].each_ns(), other = result.measured[i + loads].each_ns();
    result.rounds_apart = std::max(result.rounds_apart, std::abs(one - other) / std::max(one, other));
  }
  result.packets = calibrated(result.measured, 2);
  result.batches = calibrated(result.measured, 6);
  return result;
}

}  // namespace spare
