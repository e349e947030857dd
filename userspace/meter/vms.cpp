// SPDX-License-Identifier: GPL-2.0-only
#include "vms.hpp"

#include <bpf/bpf.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "kinds.hpp"
#include "proc.hpp"
#include "util/files.hpp"
#include "util/procfs.hpp"

namespace spare {
namespace {

constexpr std::size_t fds_most = 65536;  // of a VM, looked at for taps
constexpr std::size_t cgroups_most = 4096;  // below a VM's, as well
constexpr auto gone_shown = std::chrono::seconds{2};
constexpr auto said_again = std::chrono::hours{1};
constexpr std::size_t kept_slots = 256;  // for cgroups with a reservation or named: whoever may open /dev/kvm can start any number of VMs

spare_meter_tap key_of(const Tap& tap) { return {tap.ifindex, tap.netns}; }

bool has_ended(const Fd& process) {
  pollfd fd{process.get(), POLLIN, 0};
  return ::poll(&fd, 1, 0) > 0;
}

}  // namespace

Vms::Vms(Roots roots, CgroupTree tree, Maps maps) : roots_(std::move(roots)), tree_(std::move(tree)), maps_(maps) {
  for (std::uint32_t slot = 1; slot < SPARE_METER_GONE; slot++) {
    free_.push_back(slot);
  }
}

bool Vms::has_napi() const {
  return std::any_of(vms_.begin(), vms_.end(), [](const auto& entry) {
    return std::any_of(entry.second.taps.begin(), entry.second.taps.end(), [](const Tap& tap) { return tap.napi; });
  });
}

void Vms::say(const std::string& what, const std::string& text) {
  const auto now = std::chrono::steady_clock::now();
  const auto [at, fresh] = said_.try_emplace(what, now);
  if (fresh || now - at->second >= said_again) {
    at->second = now;
    news_.push_back(text);
  }
}

void Vms::refuse(std::uint32_t key) {
  if (refused_.size() < SPARE_METER_ANNOUNCED) {
    refused_.insert(key);
  }
}

bool Vms::update(int map, const void* key, std::uint32_t slot, const char* what) {
  const bool written = bpf_map_update_elem(map, key, &slot, BPF_ANY) == 0;
  if (!written) {
    say(what, fmt::format("the meter can know no more {} of VMs ({}): what further ones do is in the host's bill", what, std::strerror(errno)));
  }
  changed_ = true;
  return written;
}

bool Vms::forget(int map, const void* key, std::uint32_t slot) {
  std::uint32_t whose = 0;
  return bpf_map_lookup_elem(map, key, &whose) == 0 && whose == slot && bpf_map_delete_elem(map, key) == 0;
}

// whole: the cgroup with all below it is the VM. kept: so many slots are left free.
Result<MeteredVm*> Vms::make(const std::string& cgroup, bool whole, std::size_t kept) {
  if (free_.size() <= kept) {
    const Error full{fmt::format("the meter bills {} VMs at most{}: further ones are in the host's bill", SPARE_METER_GONE - 1 - kept,
                                 kept == 0 ? "" : " that have no reservation"),
                     ENOSPC};
    say(fmt::format("vms {}", kept), full.text);
    return full;
  }
  struct stat dir {};
  if (whole && ::stat((tree_.mount().string() + cgroup).c_str(), &dir) != 0) {
    return errno_error("no cgroup " + printable(cgroup));
  }
  MeteredVm& vm = vms_[free_.front()];
  vm.slot = free_.front();
  vm.id = next_id_++;
  free_.pop_front();
  vm.cgroup = cgroup;
  vm.name = printable(cgroup);
  if (whole) {
    vm.cgroup_id = dir.st_ino;
    update(maps_.cgroups, &vm.cgroup_id, vm.slot, "cgroups");
  }
  return &vm;
}

bool Vms::adopt(MeteredVm& vm, pid_t process) {
  Fd pidfd(static_cast<int>(::syscall(SYS_pidfd_open, process, 0)));
  if (!pidfd) {
    if (errno == ESRCH) {
      bpf_map_delete_elem(maps_.announced, &process);
    } else {
      refuse(static_cast<std::uint32_t>(process));
      say("pidfds", fmt::format("the meter cannot open a process ({}): what further ones do is in the host's bill", std::strerror(errno)));
    }
    return false;
  }
  std::erase_if(vm.processes, [&](const VmProcess& other) { return other.pid == process; });
  vm.processes.push_back({process, start_of(roots_, process)});
  vm.pidfds.insert_or_assign(process, std::move(pidfd));
  if (const auto name = guest_name(roots_, process); !name.empty()) {
    vm.name = name;
  }
  update(maps_.processes, &process, vm.slot, "processes");
  vm.taps_due = true;
  return true;
}

MeteredVm* Vms::nearest(const std::string& cgroup) {
  MeteredVm* best = nullptr;
  for (auto& [slot, vm] : vms_) {
    const bool above = vm.whole_cgroup() && !vm.gone && (cgroup == vm.cgroup || cgroup.starts_with(vm.cgroup + "/"));
    if (above && (best == nullptr || vm.cgroup.size() > best->cgroup.size())) {
      best = &vm;
    }
  }
  return best;
}

bool Vms::add_process(pid_t process) {
  for (const auto& [slot, vm] : vms_) {
    if (const auto known = vm.pidfds.find(process); known != vm.pidfds.end() && !has_ended(known->second)) {
      return false;
    }
  }
  const std::string own = cgroup_of(roots_, process);
  if (own.empty()) {
    // Gone already; another one may get its number.
    bpf_map_delete_elem(maps_.announced, &process);
    return false;
  }
  std::string cgroup = vm_cgroup(tree_.mount().string(), own);
  if (is_too_deep(cgroup)) {
    say("levels", fmt::format("a VM's cgroup is {} levels deep or more: such VMs are their processes alone", int{SPARE_METER_LEVELS}));
    cgroup.clear();
  }
  if (MeteredVm* known = cgroup.empty() ? nullptr : nearest(own)) {
    return adopt(*known, process);
  }
  const auto made = make(cgroup.empty() ? own : cgroup, !cgroup.empty(), kept_slots);
  if (!made) {
    refuse(static_cast<std::uint32_t>(process));
    return false;
  }
  MeteredVm& vm = **made;
  if (cgroup.empty()) {
    vm.name = std::to_string(process);
  }
  if (!adopt(vm, process)) {
    end(vm);
    return false;
  }
  return true;
}

bool Vms::add_cgroup_of_thread(pid_t thread) {
  const std::string cgroup = vm_cgroup(tree_.mount().string(), cgroup_of(roots_, thread));
  const bool known = std::any_of(vms_.begin(), vms_.end(), [&](const auto& vm) { return vm.second.whole_cgroup() && !vm.second.gone && vm.second.cgroup == cgroup; });
  if (cgroup.empty() || known) {
    return false;
  }
  const auto made = make(cgroup, true, kept_slots);
  if (made) {
    (*made)->named = (*made)->taps_due = true;
  } else {
    refuse(static_cast<std::uint32_t>(thread));
  }
  return static_cast<bool>(made);
}

Result<void> Vms::add_cgroup(const std::string& name) {
  const auto path = tree_.normal_path(name);
  if (!path) {
    return path.error();
  }
  if (*path == "/" || path->empty()) {
    return Error{"the root cgroup is no VM", EINVAL};
  }
  if (is_too_deep(*path)) {
    return Error{fmt::format("cgroup {} is {} levels deep or more: the meter finds no VM there, name one above it", printable(*path),
                             int{SPARE_METER_LEVELS}),
                 ENAMETOOLONG};
  }
  for (auto& [slot, vm] : vms_) {
    if (vm.whole_cgroup() && !vm.gone && vm.cgroup == *path) {
      vm.named = true;
      return {};
    }
  }
  const auto made = make(*path, true, 0);
  if (!made) {
    return made.error();
  }
  (*made)->named = (*made)->taps_due = true;
  return {};
}

void Vms::set_reservations(const std::vector<std::string>& paths) {
  for (const std::string& path : paths) {
    if (const auto added = add_cgroup(path); !added && added.error().code != ENOENT) {
      say(path, fmt::format("{}: the reservation of {} pays for no softirqs", added.error().text, printable(path)));
    }
  }
  for (auto& [slot, vm] : vms_) {
    const bool reserves = vm.whole_cgroup() && std::find(paths.begin(), paths.end(), vm.cgroup) != paths.end();
    changed_ = changed_ || reserves != vm.reserves;
    vm.reserves = reserves;
    vm.taps_due = !vm.gone && (vm.taps_due || bound_to(vm) != vm.bound);
  }
}

void Vms::follow_moves() {
  std::vector<pid_t> moved;
  for (auto& [slot, vm] : vms_) {
    const auto left = std::erase_if(vm.pidfds, [&, &from = vm](const auto& process) {
      const std::string own = cgroup_of(roots_, process.first);
      const bool stays = own.empty() || (from.whole_cgroup() ? nearest(own) == &from : own == from.cgroup);
      if (!stays && forget(maps_.processes, &process.first, from.slot)) {
        moved.push_back(process.first);
      }
      return !stays;
    });
    if (left > 0) {
      std::erase_if(vm.processes, [&known = vm.pidfds](const VmProcess& process) { return !known.contains(process.pid); });
      vm.taps_due = changed_ = true;
    }
  }
  for (const pid_t process : moved) {
    add_process(process);
  }
}

std::map<std::uint32_t, std::uint64_t> Vms::payers() const {
  std::map<std::string_view, std::uint64_t> reserved;
  for (const auto& [slot, vm] : vms_) {
    if (vm.reserves && !vm.gone) {
      reserved[vm.cgroup] = vm.cgroup_id;
    }
  }
  std::map<std::uint32_t, std::uint64_t> payers;
  for (const auto& [slot, vm] : vms_) {
    std::string_view path = vm.cgroup;
    while (!path.empty() && !reserved.contains(path)) {
      path = path.substr(0, path.rfind('/'));
    }
    if (!vm.gone && !path.empty()) {
      payers[slot] = reserved.at(path);
    }
  }
  return payers;
}

std::vector<pid_t> Vms::processes_in(const std::string& cgroup) const {
  std::vector<pid_t> found;
  std::vector<std::filesystem::path> dirs = tree_.below(tree_.mount().string() + cgroup, cgroups_most);
  dirs.emplace_back(tree_.mount().string() + cgroup);
  for (const auto& dir : dirs) {
    const auto text = read_file(dir / "cgroup.procs");
    const auto here = text ? processes_of(*text) : std::vector<pid_t>();
    found.insert(found.end(), here.begin(), here.end());
  }
  return found;
}

// By name, as the operator wrote it, in this network namespace.
std::vector<Tap> Vms::bound_to(const MeteredVm& vm) const {
  const auto text = vm.reserves ? read_file(tree_.mount().string() + vm.cgroup + "/" + file::netdev) : Result<std::string>(Error{});
  return taps_called(roots_.sys, text ? split(trim(*text), " ") : std::vector<std::string>());
}

bool Vms::is_bound(const Tap& tap) const {
  return std::any_of(vms_.begin(), vms_.end(), [&](const auto& entry) {
    const auto& [slot, vm] = entry;
    return !vm.gone && std::any_of(vm.bound.begin(), vm.bound.end(), [&](const Tap& bound) { return bound.ifindex == tap.ifindex && bound.netns == tap.netns; });
  });
}

// What is bound is known without its holders, who may hide it; what else they hold is only as true as they are.
void Vms::set_taps(MeteredVm& vm) {
  std::vector<Tap> now;
  bool looked = true;
  std::size_t left = fds_most;
  const auto add = [&](pid_t process) {
    const auto taps = taps_of(roots_.proc, process, left);
    looked = looked && taps;
    if (taps) {
      now.insert(now.end(), taps->begin(), taps->end());
    }
  };
  for (const auto& [process, pidfd] : vm.pidfds) {
    add(process);
  }
  if (vm.named) {
    for (const pid_t process : processes_in(vm.cgroup)) {
      if (!vm.pidfds.contains(process)) {
        add(process);
      }
    }
  }
  if (left == 0) {
    say(fmt::format("fds of {}", vm.slot), fmt::format("VM {} holds more than {} file descriptors: its taps are looked for in so many", vm.name, fds_most));
    looked = false;
  }
  if (!looked) {  // it keeps what it had
    now.insert(now.end(), vm.taps.begin(), vm.taps.end());
  }
  vm.bound = bound_to(vm);
  std::erase_if(now, [&](const Tap& tap) { return is_bound(tap); });
  now.insert(now.end(), vm.bound.begin(), vm.bound.end());
  std::sort(now.begin(), now.end());
  now.erase(std::unique(now.begin(), now.end()), now.end());
  for (const Tap& tap : vm.taps) {
    if (!std::binary_search(now.begin(), now.end(), tap)) {
      const auto key = key_of(tap);
      forget(maps_.taps, &key, vm.slot);
      changed_ = true;
    }
  }
  // Those that it had, too: whoever had one before may have taken it away, and one there was no room for may have some now.
  std::erase_if(now, [&](const Tap& tap) {
    const auto key = key_of(tap);
    std::uint32_t whose = 0;
    const bool known = bpf_map_lookup_elem(maps_.taps, &key, &whose) == 0 && whose == vm.slot;
    return !known && !update(maps_.taps, &key, vm.slot, "taps");
  });
  vm.taps = std::move(now);
}

bool Vms::look_for_taps() {
  const auto due = std::find_if(vms_.begin(), vms_.end(), [](const auto& vm) { return vm.second.taps_due; });
  if (due == vms_.end()) {
    return false;
  }
  due->second.taps_due = false;
  if (!due->second.gone) {
    set_taps(due->second);
  }
  return true;
}

// Nothing is its own from now on; what it has had stays for a while.
void Vms::end(MeteredVm& vm) {
  vm.gone = true;
  vm.gone_at = std::chrono::steady_clock::now();
  if (vm.whole_cgroup()) {
    forget(maps_.cgroups, &vm.cgroup_id, vm.slot);
  }
  for (const Tap& tap : vm.taps) {
    const auto key = key_of(tap);
    forget(maps_.taps, &key, vm.slot);
  }
  changed_ = true;
}

void Vms::look(bool taps_too) {
  for (auto& [slot, vm] : vms_) {
    if (vm.gone) {
      continue;
    }
    const auto ended = std::erase_if(vm.pidfds, [&, at = slot](const auto& process) {
      const bool gone = has_ended(process.second);
      if (gone && forget(maps_.processes, &process.first, at)) {
        bpf_map_delete_elem(maps_.announced, &process.first);
      }
      return gone;
    });
    if (ended > 0) {
      std::erase_if(vm.processes, [&known = vm.pidfds](const VmProcess& process) { return !known.contains(process.pid); });
      changed_ = true;
    }
    struct stat dir {};
    const bool there = vm.whole_cgroup() && ::stat((tree_.mount().string() + vm.cgroup).c_str(), &dir) == 0;
    if (there && dir.st_ino != vm.cgroup_id) {  // removed, and made again
      forget(maps_.cgroups, &vm.cgroup_id, slot);
      vm.cgroup_id = dir.st_ino;
      update(maps_.cgroups, &vm.cgroup_id, vm.slot, "cgroups");
    }
    if (vm.processes.empty() && !(vm.named && there)) {
      end(vm);
    }
    vm.taps_due = !vm.gone && (vm.taps_due || taps_too);
  }
}

void Vms::drop_gone(const std::function<bool(std::uint32_t)>& retire) {
  const auto now = std::chrono::steady_clock::now();
  const auto dropped = std::erase_if(vms_, [&](const auto& entry) {
    const bool drop = entry.second.gone && now - entry.second.gone_at >= gone_shown && retire(entry.first);
    if (drop) {
      free_.push_back(entry.first);
    }
    return drop;
  });
  if (dropped > 0) {
    changed_ = true;
    for (const std::uint32_t key : std::exchange(refused_, {})) {
      bpf_map_delete_elem(maps_.announced, &key);
    }
  }
}

MeterTable Vms::table() const {
  MeterTable table;
  table.next_id = next_id_;
  for (const auto& [slot, vm] : vms_) {
    table.vms.push_back({vm, vm.named});
  }
  return table;
}

// Leaves nothing but this in a map.
template <typename Key>
void Vms::settle(int map, const std::map<Key, std::uint32_t>& known) {
  std::vector<Key> strange;
  Key key{};
  for (bool more = bpf_map_get_next_key(map, nullptr, &key) == 0; more; more = bpf_map_get_next_key(map, &key, &key) == 0) {
    if (!known.contains(key)) {
      strange.push_back(key);
    }
  }
  for (const Key& one : strange) {
    bpf_map_delete_elem(map, &one);
  }
  for (const auto& [one, slot] : known) {
    bpf_map_update_elem(map, &one, &slot, BPF_ANY);
  }
}

void Vms::restore(const MeterTable& table, const std::function<bool(std::uint32_t)>& retire) {
  std::map<std::uint32_t, std::uint32_t> processes;
  std::map<std::uint64_t, std::uint32_t> cgroups;
  static_assert(sizeof(spare_meter_tap) == sizeof(std::pair<std::uint32_t, std::uint32_t>));
  std::map<std::pair<std::uint32_t, std::uint32_t>, std::uint32_t> taps;
  next_id_ = std::max(next_id_, table.next_id);
  for (const TableVm& entry : table.vms) {
    MeteredVm& vm = vms_[entry.vm.slot];
    static_cast<BilledVm&>(vm) = entry.vm;
    vm.named = entry.named;
    vm.taps_due = !vm.gone;
    vm.gone_at = std::chrono::steady_clock::now();
    std::erase(free_, vm.slot);
    std::erase_if(vm.processes, [&](const VmProcess& process) {
      Fd pidfd(static_cast<int>(::syscall(SYS_pidfd_open, process.pid, 0)));
      const bool same = pidfd && start_of(roots_, process.pid) == process.start;
      if (same) {
        processes[static_cast<std::uint32_t>(process.pid)] = vm.slot;
        vm.pidfds.insert_or_assign(process.pid, std::move(pidfd));
      }
      return !same;
    });
    if (!vm.gone && vm.whole_cgroup()) {
      cgroups[vm.cgroup_id] = vm.slot;
    }
    for (const Tap& tap : vm.gone ? std::vector<Tap>() : vm.taps) {
      taps[{tap.ifindex, tap.netns}] = vm.slot;
    }
  }
  // What a VM has had of which the table did not know yet.
  std::erase_if(free_, [&](std::uint32_t slot) {
    const bool empty = retire(slot);
    if (!empty) {
      MeteredVm& vm = vms_[slot];
      vm.slot = slot;
      vm.id = next_id_++;
      end(vm);
    }
    return !empty;
  });
  settle(maps_.processes, processes);
  settle(maps_.cgroups, cgroups);
  settle(maps_.taps, taps);
  // Who was announced and has no place is announced again.
  settle(maps_.announced, std::map<std::uint32_t, std::uint32_t>());
  changed_ = true;
}

}  // namespace spare
