// SPDX-License-Identifier: GPL-2.0-only
#include "metrics/billed.hpp"

#include <map>
#include <string_view>

#include "meter/bill.hpp"
#include "meter/kinds.hpp"

namespace spare {

void add_billed(std::vector<MeasuredVm>& vms, const Reading& reading) {
  const Bill bill = between({}, reading);
  std::map<std::string_view, const BillRow*> rows;
  for (const VmBill& vm : bill.vms) {
    if (vm.vm.whole_cgroup() && !vm.vm.gone) {
      rows[vm.vm.cgroup] = &vm.sum;
    }
  }
  for (MeasuredVm& each : vms) {
    if (const auto row = rows.find(each.vm.path); row != rows.end()) {
      for (size_t kind = 0; kind < kind_names.size(); kind++) {
        each.billed_ns.emplace_back(kind_names[kind], row->second->ns[kind]);
      }
    }
  }
}

}  // namespace spare
