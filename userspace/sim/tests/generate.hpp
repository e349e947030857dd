// SPDX-License-Identifier: GPL-2.0-only
//
// Random systems for the property tests, and what an observer writes down. A failing case prints its seed:
// SPARE_SIM_SEED=n runs that one alone, on ever smaller systems (shrink()).
#pragma once

#include <functional>
#include <map>
#include <vector>

#include "sim/observer.hpp"
#include "sim/simulate.hpp"

namespace generate {

using spare::sim::Time;

// What a random system may have in it.
struct Limits {
  unsigned vms = 6;
  unsigned cpus = 1;  // a VM has servers on up to this many
  bool providers = true;
  bool overhead = false;  // switches cost something
  bool policies = false;  // chances, gains, pay-back, loss
  bool hasten = false;    // SPARE-7
  bool burning = false;   // every vCPU computes all the time
  Time length = 2 * spare::sim::second;
};

// Admitted up to the whole CPU (less what overhead could take). Deterministic by the seed.
spare::sim::System system(std::uint64_t seed, const Limits& limits);

// Calls `holds` with random systems until one fails; then with parts of that one (VMs left out one by one, halves of the time)
// as long as they fail. Returns "" or what failed, with the seed and the smallest system.
std::string check(unsigned cases, const Limits& limits, const std::function<std::string(const spare::sim::System&)>& holds);

// A stretch of time that a server got, with the deadline under which it ran.
struct Run {
  Time from, to, deadline;
  bool own_thread;  // not lent
};

class Recorder : public spare::sim::Observer {
 public:
  using Key = std::pair<unsigned, unsigned>;  // CPU and slot
  void charged(const spare::sim::Charge& charge) override {
    const Key key{charge.payer.cpu, charge.payer.slot};
    by_payer[key].push_back({charge.from, charge.to, charge.deadline, charge.payer.slot == charge.user.slot});
    servers[key] = {charge.payer.abi.cbs.runtime_ns, charge.payer.abi.cbs.period_ns};
  }
  std::map<Key, std::vector<Run>> by_payer;
  std::map<Key, std::pair<Time, Time>> servers;  // Q and P
};

}  // namespace generate
