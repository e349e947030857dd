// SPDX-License-Identifier: GPL-2.0-only
#include "class_state.hpp"

#include <charconv>

#include "pid_file.hpp"
#include "util/files.hpp"

namespace spare {
namespace {

std::string read_word(const std::filesystem::path& path) {
  const auto text = read_file(path);
  return text ? std::string(trim(*text)) : std::string();
}

}  // namespace

ClassState read_class_state(const Roots& roots) {
  ClassState result;
  const auto state = read_file(roots.sched_ext() / "state");
  if (!state) {
    return result;
  }
  result.present = true;
  result.state = trim(*state);
  result.ops = read_word(roots.sched_ext() / "root/ops");
  return result;
}

ModuleState read_module_state(const Roots& roots) {
  ModuleState result;
  std::error_code ignored;
  result.loaded = std::filesystem::exists(roots.module(), ignored);
  result.version = read_word(roots.module() / "version");
  const std::string abi = read_word(roots.module() / "parameters/abi");
  unsigned number = 0;
  if (!abi.empty() && std::from_chars(abi.data(), abi.data() + abi.size(), number).ec == std::errc()) {
    result.abi = number;
  }
  return result;
}

std::optional<int> running_daemon() { return PidFile::holder(std::filesystem::path(run_dir) / "spared.pid"); }

}  // namespace spare
