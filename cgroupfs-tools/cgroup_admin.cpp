// SPDX-License-Identifier: GPL-2.0-only
#include "cgroup_admin.hpp"

#include <libcgroup.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <vector>

#include "systemd.hpp"
#include "util/files.hpp"

namespace sparectl {

using spare::Result;

Result<spare::Cgroup> make_cgroup(const spare::CgroupTree& tree, const std::string& name) {
  const auto path = tree.normal_path(name);
  if (!path) {
    return path.error();
  }
  std::vector<std::filesystem::path> missing;  // from the innermost
  for (std::filesystem::path each = *path; each.has_relative_path() && !tree.at(each.string()); each = each.parent_path()) {
    missing.push_back(each);
  }
  auto cgroup = tree.make(*path);
  if (!cgroup) {
    return cgroup;
  }
  for (const std::filesystem::path& each : missing) {
    // (A slice was made by systemd.)
    if (const auto made = tree.at(each.string()); made && !spare::is_unit_name(each.filename().string())) {
      static_cast<void>(made->set_mark(spare::mark::made, "1"));  // without it sparectl remove asks for --force
    }
  }
  return tree.at(*path);
}

Result<void> enter_cgroup(const spare::CgroupTree& tree, const std::string& name) {
  const auto cgroup = tree.at(name);
  if (!cgroup) {
    return cgroup.error();
  }
  const char* const controllers[] = {"cpu", nullptr};
  int failed = cgroup_init();
  if (failed == 0) {
    failed = cgroup_change_cgroup_path(cgroup->path().c_str() + 1, ::getpid(), controllers);
  }
  if (failed == 0) {
    return {};
  }
  const int system = failed == ECGOTHER ? cgroup_get_last_errno() : 0;
  return spare::Error{"cannot enter cgroup " + cgroup->path() + ": " + (system != 0 ? std::strerror(system) : cgroup_strerror(failed)), system};
}

}  // namespace sparectl
