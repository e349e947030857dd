// SPDX-License-Identifier: GPL-2.0-only
#include "manager.hpp"

#include <algorithm>

#include "flat_keyed.hpp"

namespace spare {

bool is_pool_path(const std::string& path) { return path.starts_with(std::string(pools_dir) + "/"); }

Result<Pass> Manager::look() {
  bool incomplete = false;
  const auto paths = watcher_.cover(tree_, incomplete);
  if (!paths) {
    return paths.error();
  }
  if (incomplete) {
    complaints_.say("watches", "the kernel allows no more inotify watches (fs.inotify.max_user_watches): changes are noticed later");
  }
  auto host = read_host_cpus(roots_);
  if (!host) {
    return host.error();
  }
  std::vector<Claim> claims;
  for (const std::string& path : *paths) {
    const auto cgroup = tree_.at(path);
    auto claim = cgroup ? read_claim(*cgroup) : Result<Claim>(cgroup.error());
    if (claim) {  // one that has gone meanwhile is no matter
      claims.push_back(std::move(*claim));
    }
  }
  return Pass{roots_, tree_, config_, complaints_, refusals_, unseen_, guard_, std::move(*host), changed_, Ledger(read_limit_ppm(roots_), std::move(claims), read_deadlines(tree_))};
}

bool Manager::threads_changed() {
  constexpr std::chrono::seconds first{1}, longest{64};
  const auto now = std::chrono::steady_clock::now();
  bool changed = false;
  for (auto& [path, watched] : watched_) {
    const auto cgroup = tree_.at(path);
    const auto text = cgroup ? cgroup->read(file::events) : Result<std::string>(Error{});
    const auto events = FlatKeyed::parse(text ? *text : "");
    const std::uint64_t affinities = events.number("affinity").value_or(0);
    if (affinities != watched.affinities) {
      changed = true;
      watched.affinities = affinities;
    }
    const std::uint64_t count = events.number("stray").value_or(0) + events.number("rt").value_or(0);
    if (count != watched.events && now >= watched.next) {
      changed = true;
      watched.events = count;
      watched.wait = std::clamp(2 * watched.wait, first, longest);
      watched.next = now + watched.wait;
    }
  }
  return changed;
}

void Manager::pass() {
  changed_.clear();
  auto pass = look();
  if (pass) {
    release_members(*pass);
    build_pools(*pass);
    place_vms(*pass);
    bind_members(*pass);
    mirror_caps(*pass);
    look_at_taps(*pass);
    guard_taps(*pass);
    std::map<std::string, Watched> watched;
    for (const Claim& claim : pass->ledger.claims()) {
      if (claim.reservation) {
        Watched& each = watched[claim.path] = watched_[claim.path];
        if (changed_.contains(claim.path)) {
          each.wait = {};
          each.next = {};
        }
      }
    }
    watched_.swap(watched);
    online_ = pass->online();
    ledger_ = std::move(pass->ledger);
  } else {
    complaints_.say("look", pass.error().text);
  }
  complaints_.end_of_pass();
  unseen_.end_of_pass();
  refusals_.forget_old();
}

}  // namespace spare
