// SPDX-License-Identifier: GPL-2.0-only
//
// What packets cost a host, by counting them (ACC-3): the second opinion beside the bill, fitted to the bill.
//
// Two models of what a VM's network takes in a while, each of the first so many of these amounts:
//   packets (2)    those sent and those received: Gupta et al. (2006), whose weight is the ratio of the two costs
//   batches (6)    bytes, softirqs and runs of vhost, too
#pragma once

#include <array>
#include <cstdint>
#include <optional>

#include "least_squares.hpp"

namespace spare {

// Of a VM's packets in a while: by the VM or to it, as its taps have carried them; the softirqs in which some went to it; how often its vhost worker was
// switched to.
enum PacketAmount { packets_sent, packets_received, bytes_sent, bytes_received, softirqs, vhost_runs };
using PacketAmounts = std::array<double, 6>;
inline constexpr std::array<const char*, 6> amount_names = {"sent", "received", "sent_byte", "received_byte", "softirq", "vhost_run"};

class CostModel {
 public:
  struct Model {
    const char* name;
    LeastSquares sums;
    std::optional<LeastSquares::Fit> fit;
    double off_ns = 0, of_ns = 0;
    // What was added since the first fit, and was predicted before it was learned from: the sum of |predicted - billed| to that of the billed.
    [[nodiscard]] std::optional<double> error() const { return of_ns > 0 ? std::optional(off_ns / of_ns) : std::nullopt; }
  };

  // One VM's while: its amounts, and what it was billed. Without packets or a bill it says nothing.
  void add(const PacketAmounts& amounts, double billed_ns);
  // Fits, then lets what was added fade: it counts so much from now on.
  void fit(double fade);
  [[nodiscard]] const std::array<Model, 2>& models() const { return models_; }
  // A packet sent to one received; nothing: hardly any was sent, or received.
  [[nodiscard]] std::optional<double> weight() const { return weight(models_[0].fit); }
  static std::optional<double> weight(const std::optional<LeastSquares::Fit>& packets);

 private:
  std::array<Model, 2> models_ = {Model{"packets", LeastSquares(2), {}}, Model{"batches", LeastSquares(6), {}}};
};

}  // namespace spare
