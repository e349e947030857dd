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

#include "util/fd.hpp"
#include "util/files.hpp"
#include "util/processes.hpp"
#include "util/procfs.hpp"

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

// Its name is in fdinfo, where a rename shows at once; its namespace only the device itself says.
Tap tap_behind(const fs::path& proc, pid_t process, int pidfd, const std::string& fd) {
  Tap tap;
  const auto info = read_file(proc / std::to_string(process) / "fdinfo" / fd);
  tap.name = info ? tap_of_fdinfo(*info) : std::string();
  const Fd device(static_cast<int>(::syscall(SYS_pidfd_getfd, pidfd, as_pid(fd), 0)));
  if (!device) {
    return {};  // closed meanwhile, as by a process that ends: of which namespace it was nobody says
  }
  const Fd own = open_own_netns();
  Fd netns(::ioctl(device.get(), TUNGETDEVNETNS));
  if (!netns) {
    netns = Fd(::open((proc / std::to_string(process) / "ns/net").c_str(), O_RDONLY | O_CLOEXEC));
  }
  ifreq request{};
  if (::ioctl(device.get(), TUNGETIFF, &request) == 0) {
    tap.napi = (request.ifr_flags & IFF_NAPI) != 0;
    // A macvtap's has no such line.
    if (tap.name.empty()) {
      tap.name = std::string(request.ifr_name, ::strnlen(request.ifr_name, IFNAMSIZ));
    }
  }
  if (!tap.name.empty() && netns && own) {
    tap.netns = inode_of(netns.get());
    tap.ifindex = index_in(netns.get(), own.get(), tap.name);
  }
  return tap;
}

}  // namespace

std::optional<std::vector<Tap>> taps_of(const fs::path& proc, pid_t process, std::size_t& left) {
  std::vector<Tap> taps;
  const Fd pidfd(static_cast<int>(::syscall(SYS_pidfd_open, process, 0)));
  if (!pidfd || left == 0) {
    return !pidfd && errno == ESRCH ? std::optional(taps) : std::nullopt;
  }
  const bool looked = each_fd(proc, process, [&](const std::string& fd, const std::string& target) {
    const bool macvtap = target.starts_with(macvtap_device);
    if (--left == 0 || (target != "/dev/net/tun" && !macvtap) || taps.size() >= taps_most || !is_device(proc, process, fd)) {
      return left > 0;
    }
    const Tap tap = tap_behind(proc, process, pidfd.get(), fd);
    // A macvtap does not say its namespace; its device is called by its index, so one of the same name elsewhere is mostly told from it.
    const pid_t index = macvtap ? as_pid(std::string_view(target).substr(macvtap_device.size())) : 0;
    if (tap.ifindex != 0 && (index == 0 || static_cast<std::uint32_t>(index) == tap.ifindex) && std::find(taps.begin(), taps.end(), tap) == taps.end()) {
      taps.push_back(tap);
    }
    return true;
  });
  std::sort(taps.begin(), taps.end());
  return looked && left > 0 ? std::optional(std::move(taps)) : std::nullopt;
}

std::uint32_t own_netns() {
  const Fd own = open_own_netns();
  return own ? inode_of(own.get()) : 0;
}

}  // namespace spare
