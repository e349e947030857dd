// SPDX-License-Identifier: GPL-2.0-only
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "cgroup.hpp"
#include "paths.hpp"
#include "meter.hpp"
#include "table.hpp"
#include "util/fd.hpp"

namespace spare {

// A VM that the meter bills.
struct MeteredVm : BilledVm {
  bool named = false;     // by the operator: it stays without processes
  bool reserves = false;  // its cgroup has a reservation
  bool taps_due = false;  // its taps are to be looked for
  std::vector<Tap> bound;  // of its taps, those in spare.netdev: nobody else's, whoever holds them
  std::map<pid_t, Fd> pidfds;  // of its processes
  std::chrono::steady_clock::time_point gone_at;
};

// Which VMs there are, and the maps by which the BPF programs know them.
class Vms {
 public:
  struct Maps {
    int processes, cgroups, taps, announced;
  };

  Vms(Roots roots, CgroupTree tree, Maps maps);
  // Goes on with what a former one has left in the maps, which are emptied of all that is not in the table. retire: as for drop_gone().
  void restore(const MeterTable& table, const std::function<bool(std::uint32_t)>& retire);
  [[nodiscard]] MeterTable table() const;

  // A process that runs guests. False: it is gone already, or known, or there is no room (it says so, once; it is announced again when there is).
  bool add_process(pid_t process);
  // By the id of its cgroup: what only a kernel thread said (before 6.4).
  bool add_cgroup_of_thread(pid_t thread);
  // A cgroup that is a VM whatever runs in it. ENAMETOOLONG: it is too deep for the programs to find it. ENOSPC: there is no room for more VMs.
  Result<void> add_cgroup(const std::string& name);

  // These cgroups have a reservation, and are VMs; the taps in their spare.netdev are theirs.
  void set_reservations(const std::vector<std::string>& paths);
  // Processes that are in another VM's cgroup by now are that one's.
  void follow_moves();
  // By slot, the id of the cgroup that pays for what the VM costs (DEBT-1): the nearest with a reservation. The others cost nobody.
  [[nodiscard]] std::map<std::uint32_t, std::uint64_t> payers() const;

  // Looks who has ended; taps_too: the taps of those who live are due.
  void look(bool taps_too);
  // Looks for the taps of one VM for which that is due: what tenants hold may take a while. False: of none.
  bool look_for_taps();
  // Forgets the VMs that have been gone for so long that every reader has seen it. retire: empties the rows of a slot; false: not yet.
  void drop_gone(const std::function<bool(std::uint32_t)>& retire);

  [[nodiscard]] const std::map<std::uint32_t, MeteredVm>& all() const { return vms_; }
  [[nodiscard]] bool changed() const { return changed_; }  // since it was last taken
  [[nodiscard]] bool take_changed() { return std::exchange(changed_, false); }
  [[nodiscard]] std::vector<std::string> news() { return std::exchange(news_, {}); }
  [[nodiscard]] bool has_napi() const;  // some tap has IFF_NAPI
  // Warns of it, once an hour.
  void say(const std::string& what, const std::string& text);

 private:
  Result<MeteredVm*> make(const std::string& cgroup, bool whole, std::size_t kept);
  bool adopt(MeteredVm& vm, pid_t process);
  // The VM of a whole cgroup in which this one is; null: none.
  [[nodiscard]] MeteredVm* nearest(const std::string& cgroup);
  [[nodiscard]] std::vector<Tap> bound_to(const MeteredVm& vm) const;
  [[nodiscard]] bool is_bound(const Tap& tap) const;
  void set_taps(MeteredVm& vm);
  [[nodiscard]] std::vector<pid_t> processes_in(const std::string& cgroup) const;
  // Not again until there is room.
  void refuse(std::uint32_t key);
  bool update(int map, const void* key, std::uint32_t slot, const char* what);
  // Takes a key out of a map, unless it is another VM's by now. Whether it did.
  static bool forget(int map, const void* key, std::uint32_t slot);
  void end(MeteredVm& vm);
  template <typename Key>
  static void settle(int map, const std::map<Key, std::uint32_t>& known);

  Roots roots_;
  CgroupTree tree_;
  Maps maps_;
  std::map<std::uint32_t, MeteredVm> vms_;  // by slot
  std::deque<std::uint32_t> free_;          // least recently used first
  std::set<std::uint32_t> refused_;         // keys of announced
  std::map<std::string, std::chrono::steady_clock::time_point> said_;  // of what has been complained
  std::vector<std::string> news_;
  std::uint64_t next_id_ = 1;
  bool changed_ = false;
};

}  // namespace spare
