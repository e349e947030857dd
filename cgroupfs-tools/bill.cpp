// SPDX-License-Identifier: GPL-2.0-only
#include "bill.hpp"

#include <fmt/format.h>

#include <cerrno>
#include <nlohmann/json.hpp>

#include "meter/bill.hpp"
#include "meter/kinds.hpp"

namespace sparectl {

std::optional<spare::BillRow> bill_of(const spare::Roots& roots, const std::string& path) {
  const auto meter = spare::open_meter(roots);
  const auto reading = meter ? (*meter)->read() : spare::Result<spare::Reading>(meter.error());
  if (!reading) {
    return std::nullopt;
  }
  for (const spare::VmBill& vm : spare::between({}, *reading).vms) {
    if (vm.vm.cgroup == path && vm.vm.whole_cgroup() && !vm.vm.gone) {
      return vm.sum;
    }
  }
  return std::nullopt;
}

bool meter_is_kept(const spare::Roots& roots) {
  const auto meter = spare::open_meter(roots);
  return meter || meter.error().code != ENOENT;
}

nlohmann::ordered_json bill_json(const spare::BillRow& bill) {
  nlohmann::ordered_json object;
  for (size_t kind = 0; kind < spare::kind_names.size(); kind++) {
    object[fmt::format("{}_ns", spare::kind_names[kind])] = bill.ns[kind];
  }
  object["rx_packets"] = bill.packets[0];
  object["tx_packets"] = bill.packets[1];
  return object;
}

void print_bill(const spare::BillRow& bill) {
  const auto object = bill_json(bill);
  fmt::print("bill\n");
  for (const auto& [key, value] : object.items()) {
    fmt::print("  {:22} {}\n", key, value.get<std::uint64_t>());
  }
}

}  // namespace sparectl
