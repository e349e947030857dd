// SPDX-License-Identifier: GPL-2.0-only
#include "bpffs.hpp"

#include <sys/mount.h>
#include <sys/vfs.h>

namespace spare {
namespace {

constexpr long bpf_fs_magic = 0xcafe4a11;

}  // namespace

Result<void> ensure_bpffs(const Roots& roots) {
  struct statfs info {};
  if (::statfs(roots.bpffs().c_str(), &info) == 0 && static_cast<long>(info.f_type) == bpf_fs_magic) {
    return {};
  }
  if (::mount("bpf", roots.bpffs().c_str(), "bpf", 0, "mode=0700") != 0) {
    return errno_error("no BPF file system at " + roots.bpffs().string() + " and it cannot be mounted");
  }
  return {};
}

}  // namespace spare
