// SPDX-License-Identifier: GPL-2.0-only
#include "cgroup.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <sys/stat.h>

#include <algorithm>
#include <chrono>
#include <iterator>
#include <thread>

#include "kernel_log.hpp"
#include "mounts.hpp"
#include "systemd.hpp"
#include "util/files.hpp"

namespace spare {
namespace {

namespace fs = std::filesystem;

constexpr const char* procs = "cgroup.procs";
constexpr std::chrono::milliseconds poll_pause{20};
constexpr std::chrono::seconds remove_limit{10}, enable_limit{10};
constexpr const char* controllers_wanted[] = {"cpu", "io", "cpuset"};
const Error not_permitted = {"permission denied: run it as root", EACCES};

constexpr std::string_view policy_form =
    "KEY=VALUE is wanted: grant_us 1 to 1000000, chances 0 to 1000000, window_us 1000 to 60000000, gain_us 0 to window_us, payback, wait and hasten 0 or 1, "
    "charge debt or none, interval_us 100 to 60000000";

// What an errno means for a file whose meaning narrows it down. Empty: nothing special.
std::string_view meaning(std::string_view name, int code) {
  switch (code) {
    case EINVAL:
      if (name == file::use) {
        return "each name must be another cgroup with spare.provide 1, or the parent of such, on a CPU of this cgroup";
      }
      if (name == file::netdev) {
        return "the interface cannot be bound: only taps can, not lo or a bridge";
      }
      if (name == file::cpus) {
        return "the list is malformed, or none of the providers in spare.use is on one of these CPUs";
      }
      if (name == file::policy) {
        return policy_form;
      }
      return "the value is malformed";
    case ERANGE:
      if (name == file::cpus) {
        return "not all of these CPUs are there and online";
      }
      if (name == file::policy) {
        return policy_form;
      }
      if (name == file::net_max) {
        return "the value is out of range: 100us <= P <= 100ms, Q >= 50us, Q/P >= 0.5 %";
      }
      return "the value is out of range: 100us <= P <= 1s, Q >= 50us, Q/P >= 0.5 %";
    case EBUSY:
      if (name == file::provide || name == file::use) {
        return "a VM uses this provider, or a CPU has no room for it; unlink it, or lower a reservation";
      }
      return "a CPU has no room for it (admission): lower a reservation or choose other CPUs; or it is a provider that a VM uses: sparectl unlink it first";
    case EEXIST:
      return name == file::netdev ? "the interface is another cgroup's; unbind it there first" : "";
    case ELOOP:
      return "the providers would use each other in a circle";
    case EPERM:
      return "CAP_SYS_NICE is needed, in the initial user namespace: run it as root";
    case EACCES:
      return "the file is not writable for this user: run it as root";
    case EOPNOTSUPP:
      if (name == file::netdev) {
        return "this kernel does not let the module see the packets of such a tap";
      }
      return "the cgroup lacks the cpu or io controller: `sparectl create` enables them also for one that is there";
    case ENOENT:
    case ENOTDIR:
      return name == file::use ? "there is no such provider cgroup" : "";
    case ENODEV:
      return name == file::netdev ? "there is no such interface in this network namespace" : "the cgroup is gone";
    default:
      return "";
  }
}

}  // namespace

Result<std::string> Cgroup::read(const char* file) const {
  auto text = read_file_at(dir_.get(), file);
  if (!text) {
    return explain(file, "", text.error().code);
  }
  return std::string(trim(*text));
}

Result<void> Cgroup::write(const char* file, std::string_view value) const {
  const KernelLog log;
  auto written = write_file_at(dir_.get(), file, value);
  if (written) {
    return {};
  }
  Error error = explain(file, value, written.error().code);
  const std::string said = log.last_line();
  if (!said.empty()) {
    error.text += " (kernel: " + said + ")";
  }
  return error;
}

bool Cgroup::has(const char* file) const { return ::faccessat(dir_.get(), file, F_OK, 0) == 0; }

Error Cgroup::explain(const char* file, std::string_view value, int code) const {
  const std::string what = value.empty() ? fmt::format("{} of {}", file, path_) : fmt::format("{} of {}: '{}'", file, path_, value);
  if (!has(file)) {
    if (!has(procs)) {
      return {fmt::format("{}: the cgroup is gone", path_), ENODEV};
    }
    return {fmt::format("{} has no file {}: is sched_spare.ko loaded, and the io controller enabled (`sparectl create` does that, "
                        "also for a cgroup that is there)?", path_, file), code};
  }
  const std::string_view why = meaning(file, code);
  return why.empty() ? errno_error(what, code) : Error{fmt::format("{}: {}", what, why), code};
}

Result<CgroupTree> CgroupTree::open(const Roots& roots) {
  auto mount = find_cgroup2(roots);
  if (!mount) {
    return mount.error();
  }
  return CgroupTree(std::move(*mount), systemd_runs(roots));
}

Result<std::string> CgroupTree::normal_path(std::string_view name) const {
  const std::string prefix = mount_.string();
  if (name.starts_with(prefix) && (name.size() == prefix.size() || name[prefix.size()] == '/')) {
    name.remove_prefix(prefix.size());
  }
  std::string path;
  for (const std::string& part : split(name, "/")) {
    if (part == "." || part == "..") {
      return Error{fmt::format("'{}' is not a cgroup: give its path from the root of the hierarchy, as /vm/vm1", name), EINVAL};
    }
    path += "/" + part;
  }
  return path.empty() ? std::string("/") : path;
}

Result<Cgroup> CgroupTree::at(std::string_view name) const {
  auto path = normal_path(name);
  if (!path) {
    return path.error();
  }
  Fd dir(::open(directory(*path).c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!dir) {
    return errno == ENOENT ? Error{fmt::format("there is no cgroup {}", *path), ENOENT} : errno_error("cgroup " + *path);
  }
  return Cgroup(std::move(dir), std::move(*path));
}

std::optional<std::string> CgroupTree::systemds_unit(const std::string& path) const {
  const auto parts = split(path, "/");
  return systemd_ && !parts.empty() ? spare::systemds_unit(mount_, parts) : std::nullopt;
}

// The controllers wanted that the kernel has and that are not enabled for what is in a directory. One that is not there enables none.
std::vector<std::string> CgroupTree::disabled_in(const fs::path& dir) const {
  const auto words_of = [](const fs::path& file) {
    const auto text = read_file(file);
    return text ? split(*text, " \n") : std::vector<std::string>();
  };
  const auto here = words_of(mount_ / "cgroup.controllers"), enabled = words_of(dir / "cgroup.subtree_control");
  const auto has = [](const auto& words, const char* word) { return std::find(words.begin(), words.end(), word) != words.end(); };
  std::vector<std::string> disabled;
  std::copy_if(std::begin(controllers_wanted), std::end(controllers_wanted), std::back_inserter(disabled),
               [&](const char* name) { return has(here, name) && !has(enabled, name); });
  return disabled;
}

// Enables what is disabled in a directory that is ours to write: all of it, or nothing.
Result<void> CgroupTree::enable_in(const fs::path& dir) const {
  const auto disabled = disabled_in(dir);
  if (disabled.empty()) {
    return {};
  }
  auto written = write_file_at(AT_FDCWD, dir / "cgroup.subtree_control", fmt::format("+{}", fmt::join(disabled, " +")));
  if (written) {
    return {};
  }
  const std::string path = dir == mount_ ? "/" : dir.string().substr(mount_.string().size());
  switch (written.error().code) {
    case EBUSY:
      return Error{path + " has processes of its own, and such a cgroup can have no controllers below it", EBUSY};
    case EACCES:
      return not_permitted;
    default:
      return errno_error(fmt::format("the controllers {} below {}", fmt::join(disabled, ", "), path), written.error().code);
  }
}

// The same in a slice, by systemd. It makes a unit's cgroup after it has enabled controllers for it, so those that are missing beside it stay so.
Result<void> CgroupTree::have_enabled_in(const fs::path& dir, const std::string& slice) const {
  if (disabled_in(dir).empty()) {
    return {};
  }
  std::error_code unknown;
  const std::string holder = controllers_unit(slice);
  if (!fs::exists(dir / holder, unknown)) {
    if (auto asked = ask_for_controllers(slice); !asked) {
      return asked;
    }
  }
  const auto limit = std::chrono::steady_clock::now() + enable_limit;
  for (;;) {
    const bool there = fs::exists(dir / holder, unknown);
    const auto disabled = disabled_in(dir);
    if (disabled.empty()) {
      return {};
    }
    if (there) {
      return Error{fmt::format("systemd passes no {} on to units in {}, as {} asks: does DisableControllers= forbid it?",
                               fmt::join(disabled, ", "), slice, holder), EPERM};
    }
    if (std::chrono::steady_clock::now() > limit) {
      return Error{fmt::format("systemd has not started {} within {} s", holder, enable_limit.count()), ETIMEDOUT};
    }
    std::this_thread::sleep_for(poll_pause);
  }
}

Result<Cgroup> CgroupTree::make(std::string_view name) const {
  const auto path = normal_path(name);
  if (!path) {
    return path.error();
  }
  const auto parts = split(*path, "/");
  if (parts.empty()) {
    return Error{"the root cgroup is there already", EEXIST};
  }
  if (auto there = at(*path); there && disabled_in(directory(*path).parent_path()).empty()) {
    return there;
  }
  const auto cannot = [&](const Error& why) { return why.while_doing("cannot make cgroup " + *path); };
  size_t depth = 0, ours = 0;  // directories on the way, the root is 0: the next one; the first whose files are ours to write
  fs::path dir = mount_;
  if (systemd_) {
    const SystemdPart systemds = systemd_part(mount_, parts);
    for (; depth < systemds.slices; depth++) {
      dir /= parts[depth];
    }
    ours = depth + 1;
    if (auto enabled = have_enabled_in(dir, depth == 0 ? "-.slice" : parts[depth - 1]); !enabled) {
      return cannot(enabled.error());
    }
    std::error_code unknown;
    if (is_unit_name(parts[depth]) && !fs::exists(dir / parts[depth], unknown)) {
      return cannot({parts[depth] + " is the name of a unit of systemd's, which has to start it", ENOENT});
    }
    if (systemds.closed && ours < parts.size()) {
      return cannot({fmt::format("{} is systemd's; there may be cgroups below it with Delegate=yes in that unit", parts[depth]), EPERM});
    }
  }
  for (; depth < parts.size(); depth++) {
    if (depth >= ours) {
      if (auto enabled = enable_in(dir); !enabled) {
        return cannot(enabled.error());
      }
    }
    dir /= parts[depth];
    if (::mkdir(dir.c_str(), 0755) != 0 && errno != EEXIST) {
      return errno == EACCES ? cannot(not_permitted) : errno_error("cannot make cgroup " + *path);
    }
  }
  return at(*path);
}

Result<void> CgroupTree::remove(std::string_view name) const {
  const auto path = normal_path(name);
  if (!path) {
    return path.error();
  }
  if (*path == "/") {
    return Error{"the root cgroup cannot be removed", EINVAL};
  }
  const fs::path dir = directory(*path);
  const auto limit = std::chrono::steady_clock::now() + remove_limit;
  for (;;) {
    std::error_code failed;
    if (!fs::is_directory(dir, failed)) {
      return {};
    }
    // The dead leave a cgroup a little after they were killed.
    static_cast<void>(write_file_at(AT_FDCWD, dir / "cgroup.kill", "1"));
    std::vector<fs::path> below;
    for (fs::recursive_directory_iterator entry(dir, failed), end; !failed && entry != end; entry.increment(failed)) {
      if (entry->is_directory(failed)) {
        below.push_back(entry->path());
      }
    }
    std::sort(below.rbegin(), below.rend());
    below.push_back(dir);
    bool all = true;
    for (const fs::path& each : below) {
      all = (::rmdir(each.c_str()) == 0 || errno == ENOENT) && all;
    }
    if (all) {
      return {};
    }
    const int code = errno;
    if (code != EBUSY && code != ENOTEMPTY) {
      return errno_error("cannot remove cgroup " + *path, code);
    }
    if (std::chrono::steady_clock::now() > limit) {
      return Error{fmt::format("cannot remove cgroup {}: it is still in use after {} s", *path, remove_limit.count()), code};
    }
    std::this_thread::sleep_for(poll_pause);
  }
}

std::vector<fs::path> CgroupTree::below(const fs::path& top, std::size_t most) const {
  std::vector<fs::path> all, left = {top};
  while (!left.empty() && all.size() < most) {
    const fs::path dir = std::move(left.back());
    left.pop_back();
    std::error_code gone;
    // The kernel counts sub-directories as links: who has two has none, and need not be read, which takes longer than all else here. (A file system that does
    // not count them says 1.)
    if (fs::hard_link_count(dir, gone) == 2) {
      continue;
    }
    for (fs::directory_iterator entry(dir, gone), end; !gone && entry != end && all.size() < most; entry.increment(gone)) {
      std::error_code unknown;
      if (entry->is_directory(unknown)) {
        all.push_back(entry->path());
        left.push_back(entry->path());
      }
    }
  }
  return all;
}

Result<std::vector<std::string>> CgroupTree::with_reservation() const {
  std::error_code failed;
  if (!fs::is_directory(mount_, failed)) {
    return errno_error(mount_.string(), failed ? failed.value() : ENOTDIR);
  }
  std::vector<std::string> paths;
  for (const fs::path& dir : below(mount_)) {
    const auto reservation = read_file(dir / file::reservation);
    if (reservation && trim(*reservation) != "max") {
      paths.push_back(dir.string().substr(mount_.string().size()));
    }
  }
  std::sort(paths.begin(), paths.end());
  return paths;
}

}  // namespace spare
