// SPDX-License-Identifier: GPL-2.0-only
#pragma once

#include <string>
#include <vector>

#include "bill.hpp"
#include "cost_model.hpp"

namespace spare {

// A table for a terminal; per cent are of one CPU.
std::string as_table(const Bill& bill);
// One line; spared(8) has its fields. model: null, or the second opinion.
std::string as_json(const Bill& bill, const std::vector<MissingPart>& missing, const CostModel* model = nullptr);

}  // namespace spare
