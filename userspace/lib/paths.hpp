// SPDX-License-Identifier: GPL-2.0-only
#pragma once

#include <filesystem>

namespace spare {

// Where the kernel's file systems are. Every reader takes them from here, so that tests run on a made-up tree.
struct Roots {
  std::filesystem::path proc = "/proc";
  std::filesystem::path sys = "/sys";

  [[nodiscard]] std::filesystem::path bpffs() const { return sys / "fs/bpf"; }
  [[nodiscard]] std::filesystem::path sched_ext() const { return sys / "kernel/sched_ext"; }
  [[nodiscard]] std::filesystem::path kernel_btf() const { return sys / "kernel/btf/vmlinux"; }
  [[nodiscard]] std::filesystem::path module_btf() const { return sys / "kernel/btf/sched_spare"; }
  [[nodiscard]] std::filesystem::path module() const { return sys / "module/sched_spare"; }

  // The same tree below another directory.
  [[nodiscard]] static Roots below(const std::filesystem::path& root) { return {root / "proc", root / "sys"}; }
};

inline constexpr const char* class_name = "sched_spare";  // sched_ext_ops.name
inline constexpr const char* pin_dir_name = "sched_spare";
inline constexpr const char* run_dir = "/run/sched_spare";

}  // namespace spare
