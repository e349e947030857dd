// SPDX-License-Identifier: GPL-2.0-only
#include "pins.hpp"

#include <bpf/bpf.h>
#include <sys/stat.h>

#include "bpffs.hpp"
#include "costs.hpp"
#include "pinned_class.hpp"

namespace spare {
namespace {

namespace fs = std::filesystem;

Result<void> pin_at(const fs::path& at, int fd) {
  return bpf_obj_pin(fd, at.c_str()) == 0 ? Result<void>() : errno_error("cannot pin " + at.string());
}

}  // namespace

MeterPins::MeterPins(const Roots& roots) : roots_(roots), dir_(PinnedClass::directory(roots) / pin::meter) {}

Result<void> MeterPins::replace(const std::map<std::string, int>& fds) const {
  if (auto mounted = ensure_bpffs(roots_); !mounted) {
    return mounted;
  }
  if (auto removed = remove(); !removed) {
    return removed.error();
  }
  const fs::path fresh = dir_.string() + "_new";
  std::error_code failed;
  fs::remove_all(fresh, failed);
  fs::create_directories(fresh, failed);
  if (failed) {
    return errno_error("cannot make " + fresh.string(), failed.value());
  }
  for (const auto& [name, fd] : fds) {
    if (auto pinned = pin_at(fresh / name, fd); !pinned) {
      return pinned;
    }
  }
  fs::rename(fresh, dir_, failed);
  return failed ? Result<void>(errno_error("cannot make " + dir_.string(), failed.value())) : Result<void>();
}

Result<void> MeterPins::put_costs(int fd) const { return costs::pin(roots_, fd); }

Result<void> MeterPins::take_costs(bpf_map* map) const { return costs::reuse(roots_, map); }

Result<void> MeterPins::put(const std::string& name, int fd) const { return pin_at(dir_ / name, fd); }

Fd MeterPins::get(const std::string& name) const { return Fd(bpf_obj_get((dir_ / name).c_str())); }

void MeterPins::drop(const std::string& name) const {
  std::error_code failed;
  fs::remove(dir_ / name, failed);
}

std::uint64_t MeterPins::identity() const {
  struct stat info {};
  return ::stat(dir_.c_str(), &info) == 0 ? info.st_ino : 0;
}

Result<bool> MeterPins::remove() const {
  if (identity() == 0) {
    return false;
  }
  // Out of its place at once: nobody adopts half of it.
  const fs::path old = dir_.string() + "_old";
  std::error_code failed;
  fs::remove_all(old, failed);
  fs::rename(dir_, old, failed);
  if (failed) {
    return errno_error("cannot remove " + dir_.string(), failed.value());
  }
  fs::remove_all(old, failed);
  costs::remove_unused(dir_.parent_path());
  fs::remove(dir_.parent_path(), failed);  // unless the class is there
  return true;
}

}  // namespace spare
