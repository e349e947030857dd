// SPDX-License-Identifier: GPL-2.0-only
//
// Brings the cgroups in line with the configuration, pass by pass. A pass reads everything, changes what differs, and nothing else:
// one more of them never hurts, a daemon that was killed in the middle of one goes on where it was, and a reload is a pass with
// another configuration.
#pragma once

#include <chrono>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "cgroup.hpp"
#include "complaints.hpp"
#include "config.hpp"
#include "guard.hpp"
#include "host_cpus.hpp"
#include "ledger.hpp"
#include "metrics/read.hpp"
#include "refusals.hpp"
#include "unseen.hpp"
#include "watcher.hpp"

namespace spare {

// What the steps of a pass share.
struct Pass {
  const Roots& roots;
  const CgroupTree& tree;
  const Config& config;
  Complaints& complaints;
  Refusals& refusals;
  Unseen& unseen;
  TapGuard& guard;
  std::vector<HostCpu> host;
  std::set<std::string>& changed;  // cgroups that were moved, or of whose threads something new is said
  Ledger ledger;  // every cgroup with spare files, those without a reservation too; kept up to date by the steps

  [[nodiscard]] Cpus online() const { return ids_of(host); }
};

// The steps, in order. Each does what can be done and complains about the rest.
void release_members(Pass& pass);  // spare.use of cgroups whose pool the configuration no longer has for them
void build_pools(Pass& pass);      // pools.cpp
void place_vms(Pass& pass);        // placer.cpp
void bind_members(Pass& pass);     // members.cpp
void mirror_caps(Pass& pass);      // mirror.cpp
void look_at_taps(Pass& pass);     // taps.cpp
void guard_taps(Pass& pass);       // guards.cpp

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
  // Were affinities of threads set since the last look, or has one run as a stray or a real-time one, so that a pass may find something to do?
  // Three numbers of a small file for each reservation. Where passes have found nothing, strays ask for the next one after 1, 2, 4 ... 64 s.
  bool threads_changed();
  // For metrics: the cgroups that the last pass has found, as they are now.
  [[nodiscard]] Snapshot snapshot() const { return read_snapshot(roots_, tree_, ledger_, online_); }

 private:
  Result<Pass> look();

  const Roots& roots_;
  CgroupTree tree_;
  Config config_;
  Watcher watcher_;
  Complaints complaints_;
  Refusals refusals_;
  Unseen unseen_;
  TapGuard guard_{roots_};
  struct Watched {
    std::uint64_t events = 0, affinities = 0;  // so far
    std::chrono::seconds wait{0};
    std::chrono::steady_clock::time_point next;
  };
  std::set<std::string> changed_;
  std::map<std::string, Watched> watched_;  // each reservation
  Ledger ledger_{0, {}};                    // of the last pass
  Cpus online_;                             // likewise
};

}  // namespace spare
