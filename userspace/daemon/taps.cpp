// SPDX-License-Identifier: GPL-2.0-only
//
// A tap that carries packets of which the module counts none is said by name: what finds the VM exhausted there waits for its own budget.
#include <fmt/format.h>

#include "flat_keyed.hpp"
#include "manager.hpp"
#include "util/files.hpp"

namespace spare {
void look_at_taps(Pass& pass) {
  for (const Claim& claim : pass.ledger.claims()) {
    const auto cgroup = claim.reservation ? pass.tree.at(claim.path) : Result<Cgroup>(Error{});
    const auto names = cgroup ? cgroup->read(file::netdev) : Result<std::string>(Error{});
    const auto stat = names && *names != "none" ? cgroup->read(file::stat) : Result<std::string>(Error{});
    if (!stat) {
      continue;
    }
    std::uint64_t sent = 0;
    for (const std::string& name : split(*names, " ")) {
      sent += packets_to_vm(pass.roots, name);
    }
    if (const auto unseen = pass.unseen.look(claim.path + " " + *names, sent, FlatKeyed::parse(*stat).number("rx_packets").value_or(0))) {
      pass.complaints.say("taps " + claim.path, fmt::format("{}: packets went to {}, and the module has counted none of them (rx_packets 0): none can wake "
                                                            "the VM. dmesg says which hooks could not be set",
                                                            claim.path, *names));
    }
  }
}

}  // namespace spare
