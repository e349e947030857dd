// SPDX-License-Identifier: GPL-2.0-only
#include "counted.hpp"

#include <cmath>
#include <optional>
#include <utility>

#include "kinds.hpp"

namespace spare {
namespace {

constexpr double half_life_ns = 60e9;  // what was seen a minute ago counts half

// Of all taps of a VM, between two looks. Nothing: some cannot be looked at, or were not there before.
std::optional<PacketAmounts> amounts_of(const VmBill& vm, std::uint32_t netns, const std::map<std::uint32_t, LinkCounters>& before,
                                        const std::map<std::uint32_t, LinkCounters>& now) {
  PacketAmounts amounts{};
  const auto add = [&](PacketAmount to, std::uint64_t was, std::uint64_t is) { amounts[to] += is < was ? 0 : static_cast<double>(is - was); };
  for (const Tap& tap : vm.vm.taps) {
    const auto was = before.find(tap.ifindex), is = now.find(tap.ifindex);
    if (tap.netns != netns || was == before.end() || is == now.end()) {
      return {};
    }
    add(packets_sent, was->second.received, is->second.received);
    add(packets_received, was->second.sent, is->second.sent);
    add(bytes_sent, was->second.received_bytes, is->second.received_bytes);
    add(bytes_received, was->second.sent_bytes, is->second.sent_bytes);
  }
  amounts[softirqs] = vm.sum.batches[0];
  amounts[vhost_runs] = vm.sum.batches[1];
  return amounts;
}

}  // namespace

void Counted::look(const Bill& bill) {
  auto now = link_counters();
  const std::uint32_t netns = own_netns();
  if (!now) {
    return;
  }
  for (const VmBill& vm : bill.vms) {
    const auto amounts = vm.vm.gone || vm.sum.ns[SPARE_KIND_VHOST] == 0 ? std::nullopt : amounts_of(vm, netns, before_, *now);
    if (amounts) {
      model_.add(*amounts, static_cast<double>(network_ns(vm.sum)));
    }
  }
  model_.fit(std::exp2(-static_cast<double>(bill.interval_ns) / half_life_ns));
  before_ = std::move(*now);
}

}  // namespace spare
