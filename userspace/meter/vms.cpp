// SPDX-License-Identifier: GPL-2.0-only
#include "vms.hpp"

#include <bpf/bpf.h>
#include <fmt/format.h>
#include <poll.h>
#include <spdlog/spdlog.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "sched_spare/abi.h"
#define SPARE_METER_READER
#include "sched_spare/meter.h"
#include "util/files.hpp"
#include "util/procfs.hpp"

namespace spare {
namespace {

constexpr std::size_t fds_most = 65536;  // of a VM, looked at for taps

spare_meter_tap key_of(const Tap& tap) { return {tap.ifindex, tap.netns}; }

bool has_ended(const Fd& process) {
  pollfd fd{process.get(), POLLIN, 0};
  return ::poll(&fd, 1, 0) > 0;
}

}  // namespace

Vms::Vms(Roots roots, CgroupTree tree, Maps maps) : roots_(std::move(roots)), tree_(std::move(tree)), maps_(maps) {
  for (std::uint32_t slot = 1; slot < SPARE_METER_VMS; slot++) {
    free_.push_back(slot);
  }
}

bool Vms::changed() { return std::exchange(changed_, false); }

bool Vms::has_napi() const {
  return std::any_of(vms_.begin(), vms_.end(), [](const auto& entry) {
    return std::any_of(entry.second.taps.begin(), entry.second.taps.end(), [](const Tap& tap) { return tap.napi; });
  });
}

void Vms::say(const std::string& what, const std::string& text) {
  if (said_.insert(what).second) {
    spdlog::warn("{}", text);
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

// Unless it is another VM's by now.
void Vms::forget_tap(const Tap& tap, std::uint32_t slot) const {
  const auto key = key_of(tap);
  std::uint32_t whose = 0;
  if (bpf_map_lookup_elem(maps_.taps, &key, &whose) == 0 && whose == slot) {
    bpf_map_delete_elem(maps_.taps, &key);
  }
}

// whole: the cgroup with all below it is the VM.
MeteredVm* Vms::make(const std::string& cgroup, bool whole) {
  if (free_.empty()) {
    say("vms", fmt::format("the meter bills {} VMs at most: further ones are in the host's bill", SPARE_METER_VMS - 1));
    return nullptr;
  }
  struct stat dir {};
  if (whole && ::stat((tree_.mount().string() + cgroup).c_str(), &dir) != 0) {
    return nullptr;
  }
  MeteredVm& vm = vms_[free_.front()];
  vm.slot = free_.front();
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
  vm.processes.insert_or_assign(process, std::move(pidfd));
  if (const auto name = guest_name(roots_, process); !name.empty()) {
    vm.name = name;
  }
  vm.gone = false;
  update(maps_.processes, &process, vm.slot, "processes");
  vm.taps_due = true;
  return true;
}

bool Vms::add_process(pid_t process) {
  for (const auto& [slot, vm] : vms_) {
    if (const auto known = vm.processes.find(process); known != vm.processes.end() && !has_ended(known->second)) {
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
  for (auto& [slot, vm] : vms_) {
    if (!cgroup.empty() && vm.cgroup_id != 0 && (vm.cgroup == cgroup || own == vm.cgroup || own.starts_with(vm.cgroup + "/"))) {
      return adopt(vm, process);
    }
  }
  MeteredVm* vm = make(cgroup.empty() ? own : cgroup, !cgroup.empty());
  if (vm == nullptr) {
    refuse(static_cast<std::uint32_t>(process));
    return false;
  }
  if (cgroup.empty()) {
    vm->name = std::to_string(process);
  }
  if (!adopt(*vm, process)) {
    vm->gone = true;
    return false;
  }
  return true;
}

bool Vms::add_cgroup_of_thread(pid_t thread) {
  const std::string cgroup = vm_cgroup(tree_.mount().string(), cgroup_of(roots_, thread));
  const bool known = std::any_of(vms_.begin(), vms_.end(), [&](const auto& vm) { return vm.second.cgroup_id != 0 && vm.second.cgroup == cgroup; });
  if (cgroup.empty() || known) {
    return false;
  }
  MeteredVm* vm = make(cgroup, true);
  if (vm != nullptr) {
    vm->named = true;
    vm->taps_due = true;
  } else {
    refuse(static_cast<std::uint32_t>(thread));
  }
  return vm != nullptr;
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
    if (vm.cgroup_id != 0 && vm.cgroup == *path) {
      vm.named = true;
      return {};
    }
  }
  MeteredVm* vm = make(*path, true);
  if (vm == nullptr) {
    return errno_error("no cgroup " + *path, ENOENT);
  }
  vm->named = true;
  vm->taps_due = true;
  return {};
}

std::vector<pid_t> Vms::processes_in(const std::string& cgroup) const {
  std::vector<pid_t> found;
  std::vector<std::filesystem::path> dirs = tree_.below(tree_.mount().string() + cgroup);
  dirs.emplace_back(tree_.mount().string() + cgroup);
  for (const auto& dir : dirs) {
    const auto text = read_file(dir / "cgroup.procs");
    const auto here = text ? processes_of(*text) : std::vector<pid_t>();
    found.insert(found.end(), here.begin(), here.end());
  }
  return found;
}

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
  for (const auto& [process, pidfd] : vm.processes) {
    add(process);
  }
  if (vm.named) {
    for (const pid_t process : processes_in(vm.cgroup)) {
      if (!vm.processes.contains(process)) {
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
  std::sort(now.begin(), now.end());
  now.erase(std::unique(now.begin(), now.end()), now.end());
  for (const Tap& tap : vm.taps) {
    if (!std::binary_search(now.begin(), now.end(), tap)) {
      forget_tap(tap, vm.slot);
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

void Vms::look(bool taps_too) {
  for (auto& [slot, vm] : vms_) {
    for (auto process = vm.processes.begin(); process != vm.processes.end();) {
      if (has_ended(process->second)) {
        // (Its number may be another VM's process's by now.)
        std::uint32_t whose = 0;
        if (bpf_map_lookup_elem(maps_.processes, &process->first, &whose) == 0 && whose == slot) {
          bpf_map_delete_elem(maps_.processes, &process->first);
          bpf_map_delete_elem(maps_.announced, &process->first);
        }
        process = vm.processes.erase(process);
        changed_ = true;
      } else {
        ++process;
      }
    }
    struct stat dir {};
    const bool there = vm.cgroup_id != 0 && ::stat((tree_.mount().string() + vm.cgroup).c_str(), &dir) == 0;
    if (there && dir.st_ino != vm.cgroup_id) {  // removed, and made again
      bpf_map_delete_elem(maps_.cgroups, &vm.cgroup_id);
      vm.cgroup_id = dir.st_ino;
      update(maps_.cgroups, &vm.cgroup_id, vm.slot, "cgroups");
    }
    vm.gone = vm.processes.empty() && !(vm.named && there);
    vm.taps_due = vm.taps_due || taps_too;
  }
}

void Vms::drop_gone() {
  for (auto at = vms_.begin(); at != vms_.end();) {
    const MeteredVm& vm = at->second;
    if (!vm.gone) {
      ++at;
      continue;
    }
    if (vm.cgroup_id != 0) {
      bpf_map_delete_elem(maps_.cgroups, &vm.cgroup_id);
    }
    for (const Tap& tap : vm.taps) {
      forget_tap(tap, vm.slot);
    }
    free_.push_back(vm.slot);
    at = vms_.erase(at);
    changed_ = true;
    for (const std::uint32_t key : std::exchange(refused_, {})) {
      bpf_map_delete_elem(maps_.announced, &key);
    }
  }
}

}  // namespace spare
