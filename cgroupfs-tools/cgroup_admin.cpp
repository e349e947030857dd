// SPDX-License-Identifier: GPL-2.0-only
#include "cgroup_admin.hpp"

#include <fmt/format.h>
#include <libcgroup.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <memory>

#include "util/files.hpp"

namespace sparectl {
namespace {

using spare::Error;
using spare::Result;

using Handle = std::unique_ptr<cgroup, void (*)(cgroup*)>;

constexpr const char* controllers_wanted[] = {"cpu", "io", "cpuset"};

Error libcgroup_error(const std::string& what, int code) {
  const int system = code == ECGOTHER ? cgroup_get_last_errno() : 0;
  return {fmt::format("{}: {}", what, system != 0 ? std::strerror(system) : cgroup_strerror(code)), system};
}

// Why a cgroup could not be made, where libcgroup's own word for it would mislead. Empty: nothing better to say.
std::string why_not_made(const spare::CgroupTree& tree, const std::string& path) {
  if (::access(tree.mount().c_str(), W_OK) != 0) {
    return "permission denied: run it as root";
  }
  std::filesystem::path parent = std::filesystem::path(path).parent_path();
  for (; parent.has_relative_path(); parent = parent.parent_path()) {
    const auto processes = spare::read_file(tree.mount() / parent.relative_path() / "cgroup.procs");
    if (processes && !processes->empty()) {
      return fmt::format("{} has processes of its own, and such a cgroup can have no controllers below it", parent.string());
    }
  }
  return {};
}

// libcgroup's handle of a cgroup with the controllers that this kernel has of those wanted.
Result<Handle> handle(const spare::CgroupTree& tree, const std::string& path) {
  if (const int failed = cgroup_init(); failed != 0) {
    return libcgroup_error("libcgroup finds no cgroups", failed);
  }
  const auto available = spare::read_file(tree.mount() / "cgroup.controllers");
  if (!available) {
    return available.error();
  }
  const auto words = spare::split(*available, " \n");
  Handle object(cgroup_new_cgroup(path.substr(1).c_str()), [](cgroup* each) { cgroup_free(&each); });
  for (const char* controller : controllers_wanted) {
    if (std::find(words.begin(), words.end(), controller) != words.end()) {
      cgroup_add_controller(object.get(), controller);
    }
  }
  return object;
}

}  // namespace

Result<spare::Cgroup> make_cgroup(const spare::CgroupTree& tree, const std::string& name) {
  const auto path = tree.normal_path(name);
  if (!path) {
    return path.error();
  }
  if (*path == "/") {
    return Error{"the root cgroup is there already", EEXIST};
  }
  const auto object = handle(tree, *path);
  if (!object) {
    return object.error();
  }
  if (const int failed = cgroup_create_cgroup(object->get(), 0); failed != 0) {
    const std::string what = "cannot make cgroup " + *path, why = why_not_made(tree, *path);
    return why.empty() ? libcgroup_error(what, failed) : Error{what + ": " + why};
  }
  return tree.at(*path);
}

Result<void> enter_cgroup(const spare::CgroupTree& tree, const std::string& name) {
  const auto cgroup = tree.at(name);
  if (!cgroup) {
    return cgroup.error();
  }
  const auto object = handle(tree, cgroup->path());
  if (!object) {
    return object.error();
  }
  if (const int failed = cgroup_attach_task(object->get()); failed != 0) {
    return libcgroup_error("cannot enter cgroup " + cgroup->path(), failed);
  }
  return {};
}

}  // namespace sparectl
