// SPDX-License-Identifier: GPL-2.0-only
#pragma once

#include <cstdint>
#include <map>

#include "bill.hpp"
#include "cost_model.hpp"
#include "util/links.hpp"

namespace spare {

// Fits the model to each bill: a VM's packets and bytes are those that its taps have counted, for the meter's programs would take longer to do that.
class Counted {
 public:
  // Right after the bill was read. Left out are VMs that have taps in other network namespaces, and those whose emulator carries packets itself.
  void look(const Bill& bill);
  [[nodiscard]] const CostModel& model() const { return model_; }

 private:
  std::map<std::uint32_t, LinkCounters> before_;
  CostModel model_;
};

}  // namespace spare
