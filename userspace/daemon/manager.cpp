// SPDX-License-Identifier: GPL-2.0-only
#include "manager.hpp"

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
  return Pass{roots_, tree_, config_, complaints_, refusals_, std::move(*host), Ledger(read_limit_ppm(roots_), std::move(claims), read_deadlines(tree_))};
}

void Manager::pass() {
  auto pass = look();
  if (pass) {
    release_members(*pass);
    build_pools(*pass);
    place_vms(*pass);
    bind_members(*pass);
    mirror_caps(*pass);
  } else {
    complaints_.say("look", pass.error().text);
  }
  complaints_.end_of_pass();
  refusals_.forget_old();
}

}  // namespace spare
