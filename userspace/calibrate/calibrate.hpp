// SPDX-License-Identifier: GPL-2.0-only
//
// What packets of guests cost this host, found out by carrying some (the "compact, portable benchmark" of Gupta et al. 2006): stand-ins on a tap behind the
// real vhost-net and a bridge, in a network namespace of their own, and the meter's bill of them.
#pragma once

#include <vector>

#include "load.hpp"
#include "meter/cost_model.hpp"
#include "paths.hpp"
#include "util/result.hpp"

namespace spare {

struct Measured {
  Load load;
  PacketAmounts amounts{};
  std::uint64_t lost = 0;
  double billed_ns = 0;
  [[nodiscard]] double each_ns() const { return billed_ns / (amounts[packets_sent] + amounts[packets_received]); }
};

// One of the two models.
struct Calibrated {
  LeastSquares::Fit fit;    // of all loads, each of which counts as much as another
  std::vector<double> off;  // by load: how far the fit of all others is off it, as a part of its bill; negative: too little
};

struct Calibration {
  std::vector<Measured> measured;  // each load twice, in two rounds
  Calibrated packets, batches;     // as CostModel's
  double rounds_apart = 0;         // the largest difference between the two, as a part
  [[nodiscard]] std::size_t loads() const { return measured.size() / 2; }
};

// The loads: sizes, batches and directions.
std::vector<Load> calibration_loads();

// What follows from what was measured. An error: something there has cost nothing.
Result<Calibration> calibrate_from(std::vector<Measured> measured);

// Takes most of a minute, and the process out of its network namespace for good. ENOENT, EPERM, …: what is missing here, with the remedy.
Result<Calibration> calibrate(const Roots& roots);

}  // namespace spare
