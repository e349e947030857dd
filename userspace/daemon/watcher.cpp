// SPDX-License-Identifier: GPL-2.0-only
#include "watcher.hpp"

#include <linux/netlink.h>
#include <sys/inotify.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <string_view>

#include "util/files.hpp"

namespace spare {
namespace {

namespace fs = std::filesystem;

// Of every cgroup: spare files come with the io controller, everything else begins with a reservation. (Each watch pins an inode.)
constexpr const char* files_of_all[] = {"cgroup.subtree_control", file::reservation};
// Of one with a reservation. cgroup.events: a VM starts or ends in it.
constexpr const char* files_of_reserved[] = {file::cpus, file::provide, file::use, file::netdev, file::net_max, file::cpu_max, "cgroup.events"};
constexpr __u32 kernel_group = 1;                   // of uevents: those of the kernel itself

Fd open_uevents() {
  Fd fd(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_KOBJECT_UEVENT));
  sockaddr_nl address{};
  address.nl_family = AF_NETLINK;
  address.nl_groups = kernel_group;
  if (fd && ::bind(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0) {
    fd.reset();
  }
  return fd;
}

}  // namespace

Watcher::Watcher() : inotify_(::inotify_init1(IN_CLOEXEC | IN_NONBLOCK)), uevents_(open_uevents()) {}

// False: the kernel allows no more watches. What is not there is fine.
bool Watcher::watch(const fs::path& path, unsigned mask) {
  return !inotify_ || ::inotify_add_watch(inotify_.get(), path.c_str(), mask) >= 0 || errno != ENOSPC;
}

Result<std::vector<std::string>> Watcher::cover(const CgroupTree& tree, bool& incomplete) {
  std::vector<std::string> found;
  std::vector<fs::path> open = {tree.mount()};
  bool all = true;
  while (!open.empty()) {
    const fs::path dir = std::move(open.back());
    open.pop_back();
    all = watch(dir, IN_CREATE | IN_DELETE | IN_ONLYDIR) && all;
    for (const char* name : files_of_all) {
      all = watch(dir / name, IN_MODIFY) && all;
    }
    const auto reservation = read_file(dir / file::reservation);
    if (reservation) {
      found.push_back(dir.string().substr(tree.mount().string().size()));
    }
    if (reservation && trim(*reservation) != "max") {
      for (const char* name : files_of_reserved) {
        all = watch(dir / name, IN_MODIFY) && all;
      }
    }
    std::error_code failed, unknown;
    for (fs::directory_iterator entry(dir, failed), end; !failed && entry != end; entry.increment(failed)) {
      if (entry->is_directory(unknown)) {
        open.push_back(entry->path());
      }
    }
    if (failed && dir == tree.mount()) {
      return errno_error(dir.string(), failed.value());
    }
  }
  incomplete = !all || !inotify_;
  return found;
}

Watcher::Heard Watcher::drain() {
  Heard heard;
  heard.reason = drain_cgroups();
  drain_uevents(heard);
  return heard;
}

bool Watcher::drain_cgroups() {
  alignas(inotify_event) std::array<char, 16384> buffer;
  bool reason = false;
  ssize_t n;
  while (inotify_ && (n = ::read(inotify_.get(), buffer.data(), buffer.size())) > 0) {
    for (ssize_t at = 0; at < n;) {
      const auto* event = reinterpret_cast<const inotify_event*>(buffer.data() + at);
      reason = reason || (event->mask & IN_IGNORED) == 0;
      at += static_cast<ssize_t>(sizeof(inotify_event) + event->len);
    }
  }
  return reason;
}

void Watcher::drain_uevents(Heard& heard) {
  std::array<char, 8192> message;
  ssize_t n;
  while (uevents_ && (n = ::recv(uevents_.get(), message.data(), message.size(), 0)) > 0) {
    // "online@/devices/system/cpu/cpu1\0ACTION=online\0...SUBSYSTEM=cpu\0..."
    const std::string_view text(message.data(), static_cast<size_t>(n));
    heard.uevent = true;
    heard.reason = heard.reason || text.find("SUBSYSTEM=cpu") != std::string_view::npos;
  }
}

}  // namespace spare
