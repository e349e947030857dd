// SPDX-License-Identifier: GPL-2.0-only
#pragma once

#include <optional>
#include <string>

#include "paths.hpp"
#include "util/result.hpp"

namespace spare {

// What sched_ext says of itself in /sys/kernel/sched_ext.
struct ClassState {
  bool present = false;  // the kernel has sched_ext
  std::string state;     // "disabled", "enabling", "enabled", "disabling"
  std::string ops;       // name of the root scheduler, empty when there is none

  [[nodiscard]] bool enabled() const { return state == "enabled"; }
  [[nodiscard]] bool changing() const { return state == "enabling" || state == "disabling"; }
  [[nodiscard]] bool ours() const { return enabled() && ops == class_name; }
};
ClassState read_class_state(const Roots& roots);

// What the module says of itself in /sys/module/sched_spare.
struct ModuleState {
  bool loaded = false;
  std::optional<unsigned> abi;  // parameters/abi
  std::string version;
};
ModuleState read_module_state(const Roots& roots);

// Id of the process whose pid file /run/sched_spare/spared.pid is locked, or nothing when no daemon runs.
std::optional<int> running_daemon();

}  // namespace spare
