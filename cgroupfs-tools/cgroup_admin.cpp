// SPDX-License-Identifier: GPL-2.0-only
#include "cgroup_admin.hpp"

#include <fmt/format.h>
#include <libcgroup.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <iterator>
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

// The controllers of those wanted that this kernel has.
Result<std::vector<std::string>> controllers_here(const spare::CgroupTree& tree) {
  const auto available = spare::read_file(tree.mount() / "cgroup.controllers");
  if (!available) {
    return available.error();
  }
  const auto words = spare::split(*available, " \n");
  std::vector<std::string> here;
  std::copy_if(std::begin(controllers_wanted), std::end(controllers_wanted), std::back_inserter(here),
               [&](const char* wanted) { return std::find(words.begin(), words.end(), wanted) != words.end(); });
  return here;
}

// libcgroup enables controllers in each cgroup on the way but the root, where systemd leaves cpu and io out until a unit needs them.
Result<void> enable_in_root(const spare::CgroupTree& tree) {
  const auto here = controllers_here(tree);
  if (!here) {
    return here.error();
  }
  const auto file = tree.mount() / "cgroup.subtree_control";
  const auto text = spare::read_file(file);
  const auto enabled = text ? spare::split(*text, " \n") : std::vector<std::string>();
  for (const std::string& controller : *here) {
    if (std::find(enabled.begin(), enabled.end(), controller) != enabled.end()) {
      continue;
    }
    if (auto written = spare::write_file_at(AT_FDCWD, file, "+" + controller); !written) {
      return written.error().while_doing(fmt::format("cannot enable the {} controller below the root cgroup", controller));
    }
  }
  return {};
}

// libcgroup's handle of a cgroup with the controllers that this kernel has of those wanted.
Result<Handle> handle(const spare::CgroupTree& tree, const std::string& path) {
  if (const int failed = cgroup_init(); failed != 0) {
    return libcgroup_error("libcgroup finds no cgroups", failed);
  }
  const auto here = controllers_here(tree);
  if (!here) {
    return here.error();
  }
  Handle object(cgroup_new_cgroup(path.substr(1).c_str()), [](cgroup* each) { cgroup_free(&each); });
  for (const std::string& controller : *here) {
    cgroup_add_controller(object.get(), controller.c_str());
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
  std::vector<std::string> missing;  // from the innermost
  for (std::filesystem::path each = *path; each.has_relative_path() && !tree.at(each.string()); each = each.parent_path()) {
    missing.push_back(each.string());
  }
  const auto object = handle(tree, *path);
  if (!object) {
    return object.error();
  }
  if (::access(tree.mount().c_str(), W_OK) == 0) {
    if (auto enabled = enable_in_root(tree); !enabled) {
      return enabled.error();
    }
  }
  if (const int failed = cgroup_create_cgroup(object->get(), 0); failed != 0) {
    const std::string what = "cannot make cgroup " + *path, why = why_not_made(tree, *path);
    return why.empty() ? libcgroup_error(what, failed) : Error{what + ": " + why};
  }
  for (const std::string& each : missing) {
    if (const auto made = tree.at(each)) {
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
