// SPDX-License-Identifier: GPL-2.0-only
#include "erlang.hpp"

#include <algorithm>
#include <cmath>

namespace spare::sim {

double erlang_b(unsigned k, double load) {
  double blocking = 1;
  for (unsigned i = 1; i <= k; i++) {
    blocking = load * blocking / (i + load * blocking);
  }
  return blocking;
}

// Call congestion: E(0) = 1, E(k) = (n - k) a E(k-1) / (k + (n - k) a E(k-1)), the n - 1 other sources being what a call sees.
double engset(unsigned k, unsigned sources, double alpha) {
  if (sources <= k) {
    return 0;
  }
  double blocking = 1;
  for (unsigned i = 1; i <= k; i++) {
    const double offered = (sources - i) * alpha * blocking;
    blocking = offered / (i + offered);
  }
  return blocking;
}

std::optional<unsigned> erlang_b_servers(double load, double target, unsigned most) {
  double blocking = 1;
  for (unsigned k = 0; k <= most; k++) {
    if (k > 0) {
      blocking = load * blocking / (k + load * blocking);
    }
    if (blocking <= target) {
      return k;
    }
  }
  return std::nullopt;
}

double hold_us(const Reservation& vm, const Reservation& spare, double grant_us) {
  const auto window = static_cast<double>(vm.period_us - vm.runtime_us);
  const double grant = std::ceil(grant_us / static_cast<double>(spare.runtime_us)) * static_cast<double>(spare.period_us);
  if (window <= 0) {
    return 0;
  }
  return grant >= window ? window / 2 : grant - grant * grant / (2 * window);
}

double claims_hz(const Reservation& vm, double rate_hz) {
  return rate_hz * (1 - vm.utilisation());
}

std::uint64_t supply_bound(std::uint64_t runtime, std::uint64_t period, std::uint64_t t) {
  const std::uint64_t gap = period - runtime;
  if (t <= gap) {
    return 0;
  }
  const std::uint64_t k = std::max<std::uint64_t>((t - gap + period - 1) / period, 1);
  const std::uint64_t first = (k + 1) * period - 2 * runtime, last = (k + 1) * period - runtime;
  return t >= first && t <= last ? t - (k + 1) * gap : (k - 1) * runtime;
}

std::uint64_t supply_delay(std::uint64_t runtime, std::uint64_t period, std::uint64_t demand) {
  const std::uint64_t whole = (demand - 1) / runtime, rest = demand - whole * runtime;
  return 2 * (period - runtime) + whole * period + rest;
}

}  // namespace spare::sim
