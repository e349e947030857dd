// SPDX-License-Identifier: GPL-2.0-only
#include "proc.hpp"

#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <filesystem>

#include "util/fd.hpp"
#include "util/files.hpp"
#include "util/procfs.hpp"

namespace spare {
namespace {

namespace fs = std::filesystem;

pid_t as_pid(const std::string& name) {
  pid_t pid = 0;
  const auto [end, failed] = std::from_chars(name.data(), name.data() + name.size(), pid);
  return failed == std::errc() && end == name.data() + name.size() ? pid : 0;
}

constexpr std::size_t taps_most = 64;         // of a process
constexpr std::size_t cmdline_limit = 65536;  // the kernel has none, and shows memory that the process need not have touched

// Whoever makes a file systems of his own (FUSE) chooses names and, where one asks, whether to answer. So a device is told by its kind, as the kernel has
// it already, and only then taken.
bool is_device(const Roots& roots, pid_t process, const std::string& fd) {
  struct statx file {};
  const auto path = roots.proc / std::to_string(process) / "fd" / fd;
  return ::statx(AT_FDCWD, path.c_str(), AT_STATX_DONT_SYNC, STATX_TYPE, &file) == 0 && S_ISCHR(file.stx_mode);
}

// Calls use(name, target) for each file descriptor while it returns true. Whether they could be looked at, if the process is there.
template <typename Use>
bool each_fd(const Roots& roots, pid_t process, Use use) {
  std::error_code failed;
  const auto dir = roots.proc / std::to_string(process) / "fd";
  for (fs::directory_iterator entry(dir, failed), end; !failed && entry != end; entry.increment(failed)) {
    std::error_code gone;
    const auto target = fs::read_symlink(entry->path(), gone);
    if (!gone && !use(entry->path().filename().string(), target.string())) {
      break;
    }
  }
  return !failed || failed == std::errc::no_such_file_or_directory || failed == std::errc::no_such_process;
}

std::uint32_t inode_of(int fd) {
  struct stat file {};
  return ::fstat(fd, &file) == 0 ? static_cast<std::uint32_t>(file.st_ino) : 0;
}

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
Tap tap_behind(const Roots& roots, pid_t process, int pidfd, const std::string& fd) {
  Tap tap;
  const auto info = read_file(roots.proc / std::to_string(process) / "fdinfo" / fd);
  tap.name = info ? tap_of_fdinfo(*info) : std::string();
  const Fd device(static_cast<int>(::syscall(SYS_pidfd_getfd, pidfd, as_pid(fd), 0)));
  const Fd own(::open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC));
  Fd netns(device ? ::ioctl(device.get(), TUNGETDEVNETNS) : -1);
  if (!netns) {
    netns = Fd(::open((roots.proc / std::to_string(process) / "ns/net").c_str(), O_RDONLY | O_CLOEXEC));
  }
  ifreq request{};
  if (device && ::ioctl(device.get(), TUNGETIFF, &request) == 0) {
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

std::string cgroup_of(const Roots& roots, pid_t process) {
  const auto text = read_file(roots.proc / std::to_string(process) / "cgroup");
  for (const std::string& line : text ? split(*text, "\n") : std::vector<std::string>()) {
    if (line.starts_with("0::")) {
      return line.substr(3);
    }
  }
  return {};
}

std::string vm_cgroup(const std::string& mount, std::string cgroup) {
  for (size_t at = 0; (at = cgroup.find("/machine-", at)) != std::string::npos; at++) {
    const size_t end = std::min(cgroup.find('/', at + 1), cgroup.size());
    if (std::string_view(cgroup).substr(at, end - at).ends_with(".scope")) {
      return cgroup.substr(0, end);
    }
  }
  while (cgroup.size() > 1) {
    const auto type = read_file(mount + cgroup + "/cgroup.type");
    if (!type || trim(*type) != "threaded") {
      break;
    }
    cgroup.resize(std::max<size_t>(cgroup.rfind('/'), 1));
  }
  const auto name = std::string_view(cgroup).substr(cgroup.rfind('/') + 1);
  if (name.empty() || (name.starts_with("session-") && name.ends_with(".scope"))) {
    return {};
  }
  return cgroup;
}

std::vector<pid_t> processes_with_guests(const Roots& roots) {
  std::vector<pid_t> found;
  std::error_code failed;
  for (fs::directory_iterator entry(roots.proc, failed), end; !failed && entry != end; entry.increment(failed)) {
    const pid_t process = as_pid(entry->path().filename().string());
    bool guests = false;
    if (process != 0) {
      static_cast<void>(each_fd(roots, process, [&](const std::string& fd, const std::string& target) {
        guests = target == "anon_inode:kvm-vm" || (target.starts_with("/dev/vhost-") && is_device(roots, process, fd));
        return !guests;
      }));
    }
    if (guests) {
      found.push_back(process);
    }
  }
  return found;
}

std::optional<std::vector<Tap>> taps_of(const Roots& roots, pid_t process, std::size_t& left) {
  std::vector<Tap> taps;
  const Fd pidfd(static_cast<int>(::syscall(SYS_pidfd_open, process, 0)));
  if (!pidfd || left == 0) {
    return !pidfd && errno == ESRCH ? std::optional(taps) : std::nullopt;
  }
  const bool looked = each_fd(roots, process, [&](const std::string& fd, const std::string& target) {
    if ((target == "/dev/net/tun" || target.starts_with("/dev/tap")) && taps.size() < taps_most && is_device(roots, process, fd)) {
      const Tap tap = tap_behind(roots, process, pidfd.get(), fd);
      if (tap.ifindex != 0 && std::find(taps.begin(), taps.end(), tap) == taps.end()) {
        taps.push_back(tap);
      }
    }
    return --left > 0;
  });
  std::sort(taps.begin(), taps.end());
  return looked && left > 0 ? std::optional(std::move(taps)) : std::nullopt;
}

std::string guest_name(const Roots& roots, pid_t process) {
  constexpr std::array<std::string_view, 3> options = {"-name", "--name", "--id"};
  const auto text = read_file(roots.proc / std::to_string(process) / "cmdline", cmdline_limit);
  const auto words = text ? split(*text, std::string_view("\0", 1)) : std::vector<std::string>();
  for (size_t i = 0; i + 1 < words.size(); i++) {
    if (std::find(options.begin(), options.end(), words[i]) != options.end()) {
      return printable(guest_of_option(words[i + 1]));
    }
  }
  return {};
}

}  // namespace spare
