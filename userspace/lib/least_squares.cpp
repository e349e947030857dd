// SPDX-License-Identifier: GPL-2.0-only
#include "least_squares.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace spare {
namespace {

// A column of which the others explain all but this part of its squares is not told apart from them.
constexpr double distinct_least = 1e-4;
// A sweep that moves no column's part by more than this of the cost is the last. Some 50 do; where columns are not told apart it is thousands.
constexpr double still = 1e-12;
constexpr int sweeps_most = 20000;

}  // namespace

void LeastSquares::add(std::span<const double> amounts, double cost) {
  const auto value = [&](std::size_t i) { return i < columns_ ? amounts[i] : cost; };
  for (std::size_t i = 0; i <= columns_; i++) {
    for (std::size_t k = 0; k <= columns_; k++) {
      products_[i * (columns_ + 1) + k] += value(i) * value(k);
    }
  }
}

void LeastSquares::fade(double factor) {
  for (double& sum : products_) {
    sum *= factor;
  }
}

// Coordinate descent: one cost after the other is put where it is best and not negative. The problem is convex, so there is no other end than the best.
std::optional<LeastSquares::Fit> LeastSquares::fit() const {
  const double all = product(columns_, columns_);
  Fit fit{std::vector<double>(columns_), std::vector<double>(columns_), distinct()};
  for (int sweep = 0; sweep < sweeps_most; sweep++) {
    double moved = 0;
    for (std::size_t k = 0; k < columns_; k++) {
      if (!(product(k, k) > 0)) {
        continue;
      }
      double left = product(k, columns_);
      for (std::size_t i = 0; i < columns_; i++) {
        left -= product(k, i) * fit.each[i];
      }
      const double best = std::max(fit.each[k] + left / product(k, k), 0.0);
      moved = std::max(moved, std::abs(best - fit.each[k]) * std::sqrt(product(k, k)));
      fit.each[k] = best;
    }
    if (moved <= still * std::sqrt(all)) {
      break;
    }
  }
  for (std::size_t k = 0; k < columns_; k++) {
    fit.seen[k] = std::sqrt(product(k, k));
  }
  const bool any = std::any_of(fit.each.begin(), fit.each.end(), [](double cost) { return cost > 0; });
  return any ? std::optional(std::move(fit)) : std::nullopt;
}

// By elimination: what is left of each column's squares when those before it have explained what they can.
bool LeastSquares::distinct() const {
  auto left = products_;
  const auto at = [&](std::size_t row, std::size_t column) -> double& { return left[row * (columns_ + 1) + column]; };
  for (std::size_t k = 0; k < columns_; k++) {
    if (!(at(k, k) > distinct_least * product(k, k))) {
      return false;
    }
    for (std::size_t i = k + 1; i < columns_; i++) {
      const double factor = at(i, k) / at(k, k);
      for (std::size_t j = k + 1; j < columns_; j++) {
        at(i, j) -= factor * at(k, j);
      }
    }
  }
  return true;
}

double LeastSquares::Fit::cost(std::span<const double> amounts) const { return std::inner_product(each.begin(), each.end(), amounts.begin(), 0.0); }

}  // namespace spare
