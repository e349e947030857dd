// SPDX-License-Identifier: GPL-2.0-only
#include "cost_model.hpp"

#include <algorithm>
#include <cmath>

namespace spare {

void CostModel::add(const PacketAmounts& amounts, double billed_ns) {
  if (!(amounts[packets_sent] + amounts[packets_received] > 0) || !(billed_ns > 0)) {
    return;
  }
  for (Model& model : models_) {
    if (model.fit) {
      model.off_ns += std::abs(model.fit->cost(amounts) - billed_ns);
      model.of_ns += billed_ns;
    }
    model.sums.add(amounts, billed_ns);
  }
}

void CostModel::fit(double fade) {
  for (Model& model : models_) {
    model.fit = model.sums.fit();
    model.sums.fade(fade);
    model.off_ns *= fade;
    model.of_ns *= fade;
  }
}

std::optional<double> CostModel::weight(const std::optional<LeastSquares::Fit>& packets) {
  constexpr double few = 0.05;  // a cost of these few is what no packet of the others explains
  const bool both = packets && std::min(packets->each[0], packets->each[1]) > 0 && std::min(packets->seen[0], packets->seen[1]) >= few * std::max(packets->seen[0], packets->seen[1]);
  return both ? std::optional(packets->each[0] / packets->each[1]) : std::nullopt;
}

}  // namespace spare
