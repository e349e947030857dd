// SPDX-License-Identifier: GPL-2.0-only
#pragma once

#include "class_globals.hpp"
#include "paths.hpp"
#include "util/fd.hpp"
#include "util/result.hpp"

namespace spare {

// The class in the kernel, held by pins in /sys/fs/bpf/sched_spare: the link that keeps it attached and the maps with its
// globals. It outlives every process (LIFE-1).
class PinnedClass {
 public:
  static std::filesystem::path directory(const Roots& roots) { return roots.bpffs() / pin_dir_name; }

  // ENOENT: nothing is pinned.
  static Result<PinnedClass> open(const Roots& roots);

  [[nodiscard]] const ClassGlobals& globals() const { return globals_; }

  // Detaches the class, so that every task is back with the kernel's scheduler, and removes the pins.
  static Result<void> unload(const Roots& roots);
  static void remove_pins(const std::filesystem::path& directory);

 private:
  PinnedClass(Fd link, ClassGlobals globals) : link_(std::move(link)), globals_(std::move(globals)) {}

  Fd link_;
  ClassGlobals globals_;
};

// File names in the pin directory.
namespace pin {
inline constexpr const char* link = "link";
inline constexpr const char* meter = "meter";  // a directory, of the meter (meter/pins.hpp)
inline constexpr const char* guard = "guard";  // a directory, of the programs at taps (daemon/guard.hpp)
inline constexpr const char* globals[] = {"rodata", "data", "bss"};
}  // namespace pin

}  // namespace spare
