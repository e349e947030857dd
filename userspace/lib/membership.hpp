// SPDX-License-Identifier: GPL-2.0-only
//
// A cgroup's membership in a pool: what spared writes into spare.use and spare.policy, and what it leaves to the operator. Pure.
#pragma once

#include <optional>
#include <string>

namespace spare {

// What spared has written, or wants to write.
struct Membership {
  std::string pool;
  std::string policy;

  [[nodiscard]] std::string text() const { return pool + "\n" + policy; }
  static std::optional<Membership> parse(const std::optional<std::string>& text);
  bool operator==(const Membership&) const = default;
};

// In this order: use, policy, record, forget. Killed in between, the next one finds a binding that it takes for its own.
struct MembershipStep {
  std::optional<Membership> record;
  std::optional<std::string> use;
  std::string policy;
  bool forget = false;
};

// use: spare.use as it reads. A list that spared has not written is the operator's and stays, but for the very pool that is wanted.
// Whose a "none" is the module knows: it refuses to fill an operator's. The policy is written when the cgroup is bound and when the
// configuration's changes, and is the operator's in between.
MembershipStep membership_step(const std::string& use, const std::optional<Membership>& record,
                               const std::optional<Membership>& wanted);

}  // namespace spare
