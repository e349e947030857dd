// SPDX-License-Identifier: GPL-2.0-only
//
// What spared remembers of a cgroup is an extended attribute of its directory: it lives exactly as long as the cgroup, cannot be
// taken for that of a later one of the same name, and survives the daemon, however that ends. "trusted.": only CAP_SYS_ADMIN
// reads and writes it, so nobody in a delegated subtree can forge what an operator is supposed to have written.
#include <fmt/format.h>
#include <sys/xattr.h>

#include "cgroup.hpp"

namespace spare {
namespace {

constexpr size_t mark_size_max = 4096;

std::string attribute(const char* name) { return std::string("trusted.sched_spare.") + name; }

}  // namespace

// The calls that take a descriptor refuse one of O_PATH; a path through /proc leads to the same directory.
std::string Cgroup::self() const { return fmt::format("/proc/self/fd/{}", dir_.get()); }

std::optional<std::string> Cgroup::mark(const char* name) const {
  std::string value(mark_size_max, '\0');
  const ssize_t n = ::getxattr(self().c_str(), attribute(name).c_str(), value.data(), value.size());
  if (n < 0) {
    return std::nullopt;
  }
  value.resize(static_cast<size_t>(n));
  return value;
}

Result<void> Cgroup::set_mark(const char* name, std::string_view value) const {
  value = value.substr(0, mark_size_max);
  if (::setxattr(self().c_str(), attribute(name).c_str(), value.data(), value.size(), 0) != 0) {
    return errno_error(fmt::format("cannot remember '{}' of {}", name, path_));
  }
  return {};
}

void Cgroup::clear_mark(const char* name) const { ::removexattr(self().c_str(), attribute(name).c_str()); }

}  // namespace spare
