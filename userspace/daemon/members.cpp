// SPDX-License-Identifier: GPL-2.0-only
//
// Members of pools: cgroups that a pattern of the configuration matches get the pool into spare.use, and its policy. What an
// operator has written into spare.use is left alone: the module refuses "auto LIST" there, also when it came between our look and
// our write.
#include <spdlog/spdlog.h>

#include "manager.hpp"
#include "membership.hpp"

namespace spare {
namespace {

// What the configuration wants for a cgroup; nothing: no pool.
std::optional<Membership> wanted_for(const Pass& pass, const Claim& claim) {
  if (claim.provider || is_pool_path(claim.path)) {
    return std::nullopt;
  }
  const PoolConfig* pool = pool_of(pass.config, claim.path);
  if (pool == nullptr) {
    return std::nullopt;
  }
  return Membership{pool->path(), pool->policy};
}

// Whether spare.use is what the step wants; else it is the operator's by now.
Result<bool> take(const Cgroup& cgroup, Claim& claim, const MembershipStep& step) {
  bool ours = true;
  if (step.use) {
    auto written = cgroup.write(file::use, "auto " + *step.use);
    ours = written || written.error().code != EEXIST;
    if (!written && ours) {
      return written.error();
    }
  }
  if (step.use && ours) {
    claim.use = *step.use;
  }
  if (ours && !step.policy.empty()) {
    if (auto written = cgroup.write(file::policy, step.policy); !written) {
      return written.error();
    }
  }
  if (step.forget) {
    cgroup.clear_mark(mark::member);
  }
  if (ours && step.record) {
    if (auto set = cgroup.set_mark(mark::member, step.record->text()); !set) {
      return set.error();
    }
  }
  return ours;
}

}  // namespace

void release_members(Pass& pass) {
  for (const Claim& each : pass.ledger.claims()) {
    const auto cgroup = pass.tree.at(each.path);
    const auto record = cgroup ? Membership::parse(cgroup->mark(mark::member)) : std::nullopt;
    const auto wanted = wanted_for(pass, each);
    if (!record || (wanted && wanted->pool == record->pool)) {
      continue;
    }
    Claim* claim = pass.ledger.find(each.path);
    const MembershipStep step = membership_step(claim->use, record, std::nullopt);
    if (auto taken = take(*cgroup, *claim, step); !taken) {
      pass.complaints.say("use " + each.path, taken.error().text);
    } else if (step.use && *taken) {
      spdlog::info("{} no longer uses {}", each.path, record->pool);
    }
  }
}

void bind_members(Pass& pass) {
  for (const Claim& each : pass.ledger.claims()) {
    const auto wanted = wanted_for(pass, each);
    const auto cgroup = wanted ? pass.tree.at(each.path) : Result<Cgroup>(Error{});
    if (!wanted || !cgroup) {
      continue;
    }
    Claim* claim = pass.ledger.find(each.path);
    const MembershipStep step = membership_step(claim->use, Membership::parse(cgroup->mark(mark::member)), wanted);
    if (auto taken = take(*cgroup, *claim, step); !taken) {
      pass.complaints.say("use " + each.path, taken.error().text);
    } else if (step.use && *taken) {
      spdlog::info("{} uses {}", each.path, *step.use);
    }
  }
}

}  // namespace spare
