// SPDX-License-Identifier: GPL-2.0-only
#pragma once

#include <memory>
#include <queue>
#include <vector>

#include "cpu.hpp"

namespace spare::sim {

// CPUs that VMs with several servers tie together. Servers of different islands never affect each other (reservations are
// partitioned, EDF is per CPU), so islands are simulated one by one, or at once by several threads, with the same result.
class Island {
 public:
  // vms: those with servers on these CPUs.
  Island(const System& system, const std::vector<unsigned>& cpus, const std::vector<unsigned>& vms, Observer* observer);

  // Runs for the system's warm-up and length. vms gets the results of those on these CPUs, totals is added to.
  void run(std::vector<VmResult>& vms, Totals& totals);

  [[nodiscard]] Cpu& cpu(unsigned index) { return *cpus_[index]; }
  // The CPU has to be looked at earlier than it said.
  void moved(unsigned index) {
    if (cpus_.size() > 1) {
      due_.emplace(cpus_[index]->next(), index);
    }
  }
  [[nodiscard]] Histogram& latency(Found found) { return latency_[static_cast<unsigned>(found)]; }

 private:
  void run_until(Time end);
  void reset_counts();
  void collect(std::vector<VmResult>& vms, Totals& totals);

  const System& system_;
  std::vector<unsigned> vm_index_;
  std::vector<std::unique_ptr<VmState>> vms_;
  std::vector<std::unique_ptr<Cpu>> cpus_;
  using Due = std::pair<Time, unsigned>;
  std::priority_queue<Due, std::vector<Due>, std::greater<>> due_;
  Histogram latency_[found_kinds];
};

}  // namespace spare::sim
