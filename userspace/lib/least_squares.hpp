// SPDX-License-Identifier: GPL-2.0-only
//
// What each of a few things costs, by what their amounts and the whole cost were in many observations: least squares with costs that are not negative,
// and no constant. (No library of Debian's has that: Eigen 3.4 is before its NNLS.) Of all observations only the sums of products are kept.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <vector>

namespace spare {

class LeastSquares {
 public:
  explicit LeastSquares(std::size_t columns) : columns_(columns), products_((columns + 1) * (columns + 1)) {}

  // One observation: amounts, of which the first `columns` count, and what they cost together. None negative.
  void add(std::span<const double> amounts, double cost);
  // All observations so far count that much from now on, 0 to 1.
  void fade(double factor);

  struct Fit {
    std::vector<double> each;  // what one of each costs, >= 0
    std::vector<double> seen;  // how much of each there was: the root of the sum of squares
    // False: some amounts went together in all that was seen (each batch of one packet, one direction alone). Other costs explain it as well, and only
    // their sum can be believed, for loads like these.
    bool distinct = false;
    // The first columns of it: at least as many amounts.
    [[nodiscard]] double cost(std::span<const double> amounts) const;
  };
  // Nothing: no observation yet in which anything cost anything.
  [[nodiscard]] std::optional<Fit> fit() const;

 private:
  [[nodiscard]] double product(std::size_t row, std::size_t column) const { return products_[row * (columns_ + 1) + column]; }
  [[nodiscard]] bool distinct() const;

  std::size_t columns_;
  std::vector<double> products_;  // of each two of amounts and cost, cost last
};

}  // namespace spare
