// SPDX-License-Identifier: GPL-2.0-only
//
// Brings the cgroups in line with the configuration, pass by pass. A pass reads everything, changes what differs, and nothing else:
// one more of them never hurts, a daemon that was killed in the middle of one goes on where it was, and a reload is a pass with
// another configuration.
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "cgroup.hpp"
#include "complaints.hpp"
#include "config.hpp"
#include "host_cpus.hpp"
#include "ledger.hpp"
#include "refusals.hpp"
#include "watcher.hpp"

namespace spare {

// What the steps of a pass share.
struct Pass {
  const Roots& roots;
  const CgroupTree& tree;
  const Config& config;
  Complaints& complaints;
  Refusals& refusals;
  std::vector<HostCpu> host;
  std::set<std::string>& reported;  // cgroups whose threads are complained of
  Ledger ledger;  // every cgroup with spare files, those without a reservation too; kept up to date by the steps

  [[nodiscard]] Cpus online() const { return ids_of(host); }
};

// The steps, in order. Each does what can be done and complains about the rest.
void release_members(Pass& pass);  // spare.use of cgroups whose pool the configuration no longer has for them
void build_pools(Pass& pass);      // pools.cpp
void place_vms(Pass& pass);        // placer.cpp
void bind_members(Pass& pass);     // members.cpp
void mirror_caps(Pass& pass);      // mirror.cpp

// Gives every cgroup its operator's cpu.max back; how many had another. For when spared shall not come back.
Result<unsigned> restore_caps(const Roots& roots);

// Directly below pools_dir or deeper.
bool is_pool_path(const std::string& path);

class Manager {
 public:
  Manager(const Roots& roots, CgroupTree tree, Config config) : roots_(roots), tree_(std::move(tree)), config_(std::move(config)) {}

  void configure(Config config) { config_ = std::move(config); }
  [[nodiscard]] Watcher& watcher() { return watcher_; }
  void pass();
  // Has a thread become a stray or a real-time one where the last pass has seen none? Two numbers of a small file for each reservation.
  bool threads_changed();

 private:
  Result<Pass> look();

  const Roots& roots_;
  CgroupTree tree_;
  Config config_;
  Watcher watcher_;
  Complaints complaints_;
  Refusals refusals_;
  std::set<std::string> reported_;
  std::map<std::string, std::uint64_t> watched_;  // reservations without a report: their events so far
};

}  // namespace spare
