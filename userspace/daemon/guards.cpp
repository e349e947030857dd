// SPDX-License-Identifier: GPL-2.0-only
//
// Which taps the guard's programs have to be at, and what is in the way of a limit (GUARD-1).
#include <fmt/format.h>
#include <net/if.h>
#include <unistd.h>

#include "guard.hpp"
#include "manager.hpp"
#include "settings.hpp"
#include "util/files.hpp"

namespace spare {

void guard_taps(Pass& pass) {
  std::set<unsigned> taps;
  bool any = false;
  for (const Claim& claim : pass.ledger.claims()) {
    const auto cgroup = claim.reservation ? pass.tree.at(claim.path) : Result<Cgroup>(Error{});
    const auto max = cgroup ? cgroup->read(file::net_max) : Result<std::string>(Error{});
    if (!max || *max == "max") {
      continue;
    }
    any = true;
    const auto names = cgroup->read(file::netdev);
    if (names && *names == "none") {
      pass.complaints.say("guard " + claim.path, fmt::format("{} has a limit ({} {}) and no tap in {}: it holds for vhost's work alone, no packet is dropped",
                                                             claim.path, file::net_max, *max, file::netdev));
    }
    for (const std::string& name : names ? names_in(*names) : std::vector<std::string>()) {
      const unsigned tap = ::if_nametoindex(name.c_str());
      if (tap != 0 && ::access((pass.roots.sys / "class/net" / name / "tun_flags").c_str(), F_OK) != 0) {
        pass.complaints.say("guard " + name, fmt::format("{}: no packet of {} is dropped: it is not a tap of tun's", claim.path, name));
      } else if (tap == 0) {
        pass.complaints.say("guard " + name, fmt::format("{}: no packet of {} is dropped: it is not in spared's network namespace", claim.path, name));
      } else {
        taps.insert(tap);
      }
    }
  }
  if (any && !pass.config.meter) {
    pass.complaints.say("guard meter", fmt::format("{} counts vhost's work alone: softirqs are the meter's to tell ([meter] in spared.toml)", file::net_max));
  }
  if (auto set = pass.guard.set(taps, pass.config.guard_passes); !set) {
    pass.complaints.say("guard", set.error().text + ": no packet is dropped for a limit");
  }
}

}  // namespace spare
