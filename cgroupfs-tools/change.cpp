// SPDX-License-Identifier: GPL-2.0-only
//
// The commands of sparectl that change something.
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <unistd.h>

#include <algorithm>

#include "cgroup_admin.hpp"
#include "commands.hpp"
#include "host_cpus.hpp"
#include "ledger.hpp"
#include "pinned_class.hpp"
#include "settings.hpp"

namespace sparectl {
namespace {

using spare::Cgroup;
using spare::CgroupTree;
using spare::Result;
using spare::Setting;

constexpr const char* none = "none";
constexpr const char* by_default = "default";

std::string joined(const std::vector<std::string>& names) {
  return names.empty() ? none : fmt::format("{}", fmt::join(names, " "));
}

// Paths of providers as the kernel wants them: absolute.
Result<std::vector<std::string>> provider_paths(const CgroupTree& tree, const std::vector<std::string>& names) {
  std::vector<std::string> paths;
  for (const std::string& name : names) {
    if (name == none && names.size() == 1) {
      break;
    }
    auto path = tree.normal_path(name);
    if (!path) {
      return path.error();
    }
    paths.push_back(std::move(*path));
  }
  return paths;
}

Result<std::vector<Setting>> settings_of(const CgroupTree& tree, const SetOptions& options) {
  std::vector<Setting> settings;
  if (options.reservation) {
    const auto reservation = spare::parse_reservation(*options.reservation);
    if (!reservation) {
      return reservation.error();
    }
    settings.push_back({spare::file::reservation, *reservation ? (*reservation)->kernel_form() : "max"});
  }
  if (options.cpus) {
    settings.push_back({spare::file::cpus, *options.cpus == none ? "" : *options.cpus});
  }
  if (options.provide) {
    settings.push_back({spare::file::provide, *options.provide ? "1" : "0"});
  }
  if (options.use) {
    const bool handed_back = *options.use == std::vector<std::string>{by_default};
    const auto paths = handed_back ? std::vector<std::string>() : provider_paths(tree, *options.use);
    if (!paths) {
      return paths.error();
    }
    settings.push_back({spare::file::use, handed_back ? by_default : joined(*paths)});
  }
  if (options.netdev) {
    settings.push_back({spare::file::netdev, joined(*options.netdev)});
  }
  if (options.net_max) {
    const auto max = spare::parse_reservation(*options.net_max);
    if (!max) {
      return max.error();
    }
    settings.push_back({spare::file::net_max, *max ? (*max)->kernel_form() : "max"});
  }
  if (!options.policy.empty()) {
    settings.push_back({spare::file::policy, fmt::format("{}", fmt::join(options.policy, " "))});
  }
  return settings;
}

// Changes the list of providers of a cgroup.
template <typename Edit>
Result<void> edit_use(const spare::Roots& roots, const std::string& name, const std::vector<std::string>& providers, Edit edit) {
  const auto tree = CgroupTree::open(roots);
  if (!tree) {
    return tree.error();
  }
  const auto cgroup = tree->at(name);
  if (!cgroup) {
    return cgroup.error();
  }
  const auto paths = provider_paths(*tree, providers);
  if (!paths) {
    return paths.error();
  }
  const auto vm = spare::read_vm(*cgroup);
  if (!vm) {
    return vm.error();
  }
  std::vector<std::string> use = vm->use;
  if (auto edited = edit(use, *paths); !edited) {
    return edited;
  }
  return cgroup->write(spare::file::use, joined(use));
}

// Why admission has refused: the fullest CPU, who is on it, what would fit there, and where there is room (CBS-6). The module's own
// word stays where the files do not explain it.
spare::Error explain_refusal(const spare::Roots& roots, const CgroupTree& tree, const Cgroup& cgroup,
                             const std::vector<Setting>& settings, spare::Error refused) {
  const auto ledger = spare::Ledger::read(roots, tree);
  const auto host = spare::read_host_cpus(roots);
  auto claim = spare::read_claim(cgroup);
  if (!ledger || !host || !claim) {
    return refused;
  }
  for (const Setting& setting : settings) {
    if (setting.file == spare::file::reservation) {
      const auto reservation = spare::parse_reservation(setting.value);
      claim->reservation = reservation ? *reservation : std::nullopt;
    } else if (setting.file == spare::file::cpus) {
      const auto cpus = spare::parse_cpu_list(setting.value);
      claim->cpus = cpus ? *cpus : spare::Cpus();
    }
  }
  if (!claim->reservation) {
    return refused;
  }
  const std::string why = ledger->refusal(cgroup.path(), *claim->reservation, claim->cpus, spare::ids_of(*host));
  return why.empty() ? refused : spare::Error{fmt::format("{} is refused: {}", cgroup.path(), why), EBUSY};
}

}  // namespace

Result<void> set(const spare::Roots& roots, const SetOptions& options) {
  const auto tree = CgroupTree::open(roots);
  if (!tree) {
    return tree.error();
  }
  if (!options.changes() && !options.create) {
    return spare::Error{"nothing to set: give --reservation, --cpus, --provide, --use, --netdev, --net-max or --policy"};
  }
  // Everything that can be refused without touching the kernel is refused first.
  auto settings = settings_of(*tree, options);
  if (!settings) {
    return settings.error();
  }
  const bool existed = static_cast<bool>(tree->at(options.cgroup));
  const auto cgroup = options.create ? make_cgroup(*tree, options.cgroup) : tree->at(options.cgroup);
  if (!cgroup) {
    return cgroup.error().code == ENOENT && !options.create ? spare::Error{cgroup.error().text + "; --create makes it"} : cgroup.error();
  }
  auto applied = spare::apply(*cgroup, *settings);
  if (!applied && applied.error().code == EBUSY) {
    applied = explain_refusal(roots, *tree, *cgroup, *settings, applied.error());
  }
  if (!applied && options.create && !existed) {
    static_cast<void>(tree->remove(options.cgroup));  // nothing half done; the reason is the other error
  }
  return applied;
}

Result<void> link(const spare::Roots& roots, const std::string& cgroup, const std::vector<std::string>& providers) {
  return edit_use(roots, cgroup, providers, [](auto& use, const auto& paths) -> Result<void> {
    for (const std::string& path : paths) {
      if (std::find(use.begin(), use.end(), path) == use.end()) {
        use.push_back(path);
      }
    }
    return {};
  });
}

Result<void> unlink(const spare::Roots& roots, const std::string& cgroup, const std::vector<std::string>& providers) {
  return edit_use(roots, cgroup, providers, [&](auto& use, const auto& paths) -> Result<void> {
    if (paths.empty()) {
      use.clear();
    }
    for (const std::string& path : paths) {
      if (std::erase(use, path) == 0) {
        return spare::Error{fmt::format("{} does not use {}", cgroup, path), ENOENT};
      }
    }
    return {};
  });
}

Result<void> create(const spare::Roots& roots, const std::string& name, bool exclusive) {
  const auto tree = CgroupTree::open(roots);
  if (!tree) {
    return tree.error();
  }
  const auto there = exclusive ? tree->at(name) : Result<Cgroup>(spare::Error{});
  const auto cgroup = there ? Result<Cgroup>(spare::Error{}) : make_cgroup(*tree, name);
  if (!there && !cgroup) {
    return cgroup.error();
  }
  const std::string& path = (there ? *there : *cgroup).path();
  fmt::print("{}\n", (tree->mount() / path.substr(1)).string());
  return there ? Result<void>(spare::Error{fmt::format("the cgroup {} is there already", path), EEXIST}) : Result<void>();
}

Result<void> remove(const spare::Roots& roots, const std::string& name, bool force) {
  const auto tree = CgroupTree::open(roots);
  if (!tree) {
    return tree.error();
  }
  const auto cgroup = tree->at(name);
  if (!cgroup) {
    return cgroup.error().code == ENOENT ? Result<void>() : cgroup.error();
  }
  if (!force && !cgroup->mark(spare::mark::made)) {
    return spare::Error{fmt::format("{} was not made by sparectl; --force removes it, and kills what is in it and below", cgroup->path()), EPERM};
  }
  return tree->remove(name);
}

Result<void> run(const spare::Roots& roots, const SetOptions& options, const std::vector<std::string>& command) {
  const auto tree = CgroupTree::open(roots);
  if (!tree) {
    return tree.error();
  }
  if (options.changes()) {
    if (auto changed = set(roots, options); !changed) {
      return changed;
    }
  } else if (options.create) {
    if (auto made = make_cgroup(*tree, options.cgroup); !made) {
      return made.error();
    }
  }
  if (auto entered = enter_cgroup(*tree, options.cgroup); !entered) {
    return entered;
  }
  std::vector<char*> argv;
  for (const std::string& word : command) {
    argv.push_back(const_cast<char*>(word.c_str()));
  }
  argv.push_back(nullptr);
  ::execvp(argv[0], argv.data());
  return spare::errno_error("cannot run " + command[0]);
}

Result<void> unload(const spare::Roots& roots) {
  auto unloaded = spare::PinnedClass::unload(roots);
  if (!unloaded && unloaded.error().code == ENOENT) {
    return spare::Error{"the class is not loaded"};
  }
  return unloaded;
}

}  // namespace sparectl
