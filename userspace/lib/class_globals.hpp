// SPDX-License-Identifier: GPL-2.0-only
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "util/fd.hpp"

namespace spare {

// Why sched_ext ended the class (enum scx_exit_kind), as its ops.exit recorded it in its globals.
struct ExitInfo {
  std::uint32_t kind = 0;  // 0: it has not ended
  std::string reason;
  std::string message;
  std::string dump;  // what sched_ext wrote of its state and of the tasks that waited; only of an error

  [[nodiscard]] bool by_operator() const { return kind == 64; }  // unregistered
  [[nodiscard]] std::string text() const;
};

// How a build of the class is shown.
std::string build_text(std::uint64_t build);

// The global variables of the class in the kernel.
class ClassGlobals {
 public:
  // The maps that hold them (.rodata, .data, .bss).
  explicit ClassGlobals(std::vector<Fd> maps) : maps_(std::move(maps)) {}

  // The ABI number the class was compiled with; nothing when it does not say.
  [[nodiscard]] std::optional<unsigned> abi() const;
  // Which build of the class it is; 0 when it does not say.
  [[nodiscard]] std::uint64_t build() const { return counter("spare_build"); }
  [[nodiscard]] ExitInfo exit_info() const;
  // A counter that the class keeps for its users: host_overrun_ns, host_valve_tasks, host_floor_ns. 0 when it has none of that name.
  [[nodiscard]] std::uint64_t counter(const std::string& name) const;

 private:
  [[nodiscard]] std::optional<std::vector<char>> find(const std::string& name) const;

  std::vector<Fd> maps_;
};

}  // namespace spare
