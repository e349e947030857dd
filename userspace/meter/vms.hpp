// SPDX-License-Identifier: GPL-2.0-only
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "cgroup.hpp"
#include "paths.hpp"
#include "proc.hpp"
#include "util/fd.hpp"
#include "util/taps.hpp"

namespace spare {

// A VM that the meter bills.
struct MeteredVm {
  std::uint32_t slot = 0;
  std::string name;           // its guest's, else its cgroup's
  std::string cgroup;         // of it, or in which it is
  std::uint64_t cgroup_id = 0;  // 0: the cgroup holds others too, the VM is its processes alone
  bool named = false;         // by the operator: it stays without processes
  bool gone = false;          // no process is left; it is billed once more
  bool taps_due = false;      // its taps are to be looked for
  std::map<pid_t, Fd> processes;  // that run guests, and a pidfd of each
  std::vector<Tap> taps;
};

// Which VMs there are, and the maps by which the BPF programs know them.
class Vms {
 public:
  struct Maps {
    int processes, cgroups, taps, announced;
  };

  Vms(Roots roots, CgroupTree tree, Maps maps);

  // A process that runs guests. False: it is gone already, or known, or there is no room (it says so, once; it is announced again when there is).
  bool add_process(pid_t process);
  // By the id of its cgroup: what only a kernel thread said (before 6.4).
  bool add_cgroup_of_thread(pid_t thread);
  // A cgroup that is a VM whatever runs in it. ENAMETOOLONG: it is too deep for the programs to find it.
  Result<void> add_cgroup(const std::string& name);

  // Looks who has ended; taps_too: the taps of those who live are due.
  void look(bool taps_too);
  // Looks for the taps of one VM for which that is due: what tenants hold may take a while. False: of none.
  bool look_for_taps();
  // Forgets the VMs that are gone.
  void drop_gone();

  [[nodiscard]] const std::map<std::uint32_t, MeteredVm>& all() const { return vms_; }
  [[nodiscard]] bool changed();  // since the last call
  [[nodiscard]] bool has_napi() const;  // some tap has IFF_NAPI
  // Warns of it, once.
  void say(const std::string& what, const std::string& text);

 private:
  MeteredVm* make(const std::string& cgroup, bool whole);
  bool adopt(MeteredVm& vm, pid_t process);
  void set_taps(MeteredVm& vm);
  [[nodiscard]] std::vector<pid_t> processes_in(const std::string& cgroup) const;
  // Not again until there is room.
  void refuse(std::uint32_t key);
  bool update(int map, const void* key, std::uint32_t slot, const char* what);
  void forget_tap(const Tap& tap, std::uint32_t slot) const;

  Roots roots_;
  CgroupTree tree_;
  Maps maps_;
  std::map<std::uint32_t, MeteredVm> vms_;  // by slot
  std::deque<std::uint32_t> free_;          // least recently used first
  std::set<std::uint32_t> refused_;         // keys of announced
  std::set<std::string> said_;              // of what has been complained
  bool changed_ = false;
};

}  // namespace spare
