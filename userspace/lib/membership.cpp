// SPDX-License-Identifier: GPL-2.0-only
#include "membership.hpp"

namespace spare {

std::optional<Membership> Membership::parse(const std::optional<std::string>& text) {
  const size_t first = text ? text->find('\n') : std::string::npos;
  if (first == std::string::npos) {
    return std::nullopt;
  }
  return Membership{text->substr(0, first), text->substr(first + 1)};
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
  const bool may_bind = bound || use == wanted->pool || use == "none";
  if (!may_bind || (record == wanted && bound)) {
    return step;
  }
  step.record = wanted;
  if (use != wanted->pool) {
    step.use = wanted->pool;
  }
  if (!bound || record->policy != wanted->policy) {  // (a module that was loaded anew has none)
    step.policy = wanted->policy;
  }
  return step;
}

}  // namespace spare
