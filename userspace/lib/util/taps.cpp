// SPDX-License-Identifier: GPL-2.0-only
#include "util/taps.hpp"

#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "util/fd.hpp"
#include "util/files.hpp"
#include "util/processes.hpp"

namespace spare {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t taps_most = 64;  // of a process
constexpr std::string_view macvtap_device = "/dev/tap";

std::uint32_t inode_of(int fd) {
  struct stat file {};
  return ::fstat(fd, &file) == 0 ? static_cast<std::uint32_t>(file.st_ino) : 0;
}

Fd open_own_netns() { return Fd(::open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC)); }

std::uint32_t index_in(int netns, int own, const std::string& name) {
  if (inode_of(netns) == inode_of(own)) {
    return ::if_nametoindex(name.c_str());
  }
  if (::setns(netns, CLONE_NEWNET) != 0) {
    return 0;
  }
  const auto index = ::if_nametoindex(name.c_str());
  static_cast<void>(::setns(own, CLONE_NEWNET));
  return index;
}

enum class Taken { yes, gone, other };

// Whoever holds a file descriptor may have put another file there since it was looked at, or closed it. A file of his own file system (FUSE) would
// hold up who closes it, for as long as he likes: it stays open.
Taken take_device(int pidfd, const std::string& fd, Fd& device) {
  device = Fd(static_cast<int>(::syscall(SYS_pidfd_getfd, pidfd, as_pid(fd), 0)));
  if (!device) {
    return Taken::gone;
  }
  struct statx file {};
  if (::statx(device.get(), "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_TYPE, &file) == 0 && S_ISCHR(file.stx_mode)) {
    return Taken::yes;
  }
  static_cast<void>(device.release());
  return Taken::other;
}

// All of it the device itself says. Not so a macvtap's namespace: it is that of the process if its index there is the one that its file is called by.
Tap tap_behind(const Fd& device, const fs::path& proc, pid_t process, std::uint32_t macvtap_index) {
  Tap tap;
  ifreq request{};
  const Fd own = open_own_netns();
  Fd netns(::ioctl(device.get(), TUNGETDEVNETNS));
  if (!netns && macvtap_index != 0) {
    netns = Fd(::open((proc / std::to_string(process) / "ns/net").c_str(), O_RDONLY | O_CLOEXEC));
  }
  if (!netns || !own || ::ioctl(device.get(), TUNGETIFF, &request) != 0) {
    return tap;
  }
  tap.name = std::string(request.ifr_name, ::strnlen(request.ifr_name, IFNAMSIZ));
  tap.napi = (request.ifr_flags & IFF_NAPI) != 0;
  tap.netns = inode_of(netns.get());
  tap.ifindex = index_in(netns.get(), own.get(), tap.name);
  if (macvtap_index != 0 && macvtap_index != tap.ifindex) {
    tap.ifindex = 0;
  }
  return tap;
}

// By what sysfs says. Nothing: it is none, or not there.
std::optional<Tap> tap_in(const fs::path& dir, const std::string& name) {
  const auto number = [&](const char* file, int base) {
    const auto text = read_file(dir / file);
    return text ? std::optional(static_cast<std::uint32_t>(std::strtoul(text->c_str(), nullptr, base))) : std::nullopt;
  };
  const auto ifindex = number("ifindex", 10), flags = number("tun_flags", 16);
  std::error_code unknown;
  if (ifindex.value_or(0) == 0 || !(flags || fs::exists(dir / "macvtap", unknown))) {
    return {};
  }
  return Tap{name, *ifindex, own_netns(), (flags.value_or(0) & IFF_NAPI) != 0};
}

}  // namespace

std::optional<std::vector<Tap>> taps_of(const fs::path& proc, pid_t process, std::size_t& left) {
  std::vector<Tap> taps;
  const Fd pidfd(static_cast<int>(::syscall(SYS_pidfd_open, process, 0)));
  if (!pidfd || left == 0) {
    return !pidfd && errno == ESRCH ? std::optional(taps) : std::nullopt;
  }
  bool fair = true;
  const bool looked = each_fd(proc, process, [&](const std::string& fd, const std::string& target) {
    const bool macvtap = target.starts_with(macvtap_device);
    const pid_t index = macvtap ? as_pid(std::string_view(target).substr(macvtap_device.size())) : 0;
    if (--left > 0 && (target == "/dev/net/tun" || index != 0) && taps.size() < taps_most && is_device(proc, process, fd)) {
      Fd device;
      const Taken taken = take_device(pidfd.get(), fd, device);
      fair = taken != Taken::other;
      const Tap tap = taken == Taken::yes ? tap_behind(device, proc, process, static_cast<std::uint32_t>(index)) : Tap();
      if (tap.ifindex != 0 && std::find(taps.begin(), taps.end(), tap) == taps.end()) {
        taps.push_back(tap);
      }
    }
    return fair && left > 0;
  });
  std::sort(taps.begin(), taps.end());
  return looked && fair ? std::optional(std::move(taps)) : std::nullopt;
}

std::vector<Tap> taps_called(const fs::path& sys, const std::vector<std::string>& names) {
  std::vector<Tap> taps;
  for (const std::string& name : names) {
    if (auto tap = tap_in(sys / "class/net" / name, name)) {
      taps.push_back(std::move(*tap));
    }
  }
  return taps;
}

std::uint32_t own_netns() {
  const Fd own = open_own_netns();
  return own ? inode_of(own.get()) : 0;
}

}  // namespace spare
