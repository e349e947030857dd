// SPDX-License-Identifier: GPL-2.0-only
#include "membership.hpp"

namespace spare {

std::optional<Membership> Membership::parse(const std::optional<std::string>& text) {
  const size_t first = text ? text->find('\n') : std::string::npos;
  const size_t second = first == std::string::npos ? first : text->find('\n', first + 1);
  if (second == std::string::npos) {
    return std::nullopt;
  }
  return Membership{text->substr(0, first), text->substr(first + 1, second - first - 1), text->substr(second + 1)};
}

MembershipStep membership_step(const std::string& use, const std::optional<Membership>& record,
                               const std::optional<Membership>& wanted) {
  const bool bound = record && use == record->pool;
  MembershipStep step;
  if (!wanted) {
    step.forget = record.has_value();
    if (bound) {
      step.use = "none";
    }
    return step;
  }
  const bool pool_was_replaced = record && (record->id != wanted->id || record->pool != wanted->pool);
  const bool may_bind = bound || use == wanted->pool || (use == "none" && (!record || pool_was_replaced));
  if (!may_bind || record == wanted) {
    return step;
  }
  step.record = wanted;
  if (use != wanted->pool) {
    step.use = wanted->pool;
  }
  if (!record || record->policy != wanted->policy) {
    step.policy = wanted->policy;
  }
  return step;
}

}  // namespace spare
