// SPDX-License-Identifier: GPL-2.0-only
#include "pinned_class.hpp"

#include <bpf/bpf.h>

#include "costs.hpp"

namespace spare {

Result<PinnedClass> PinnedClass::open(const Roots& roots) {
  const auto dir = directory(roots);
  Fd link(bpf_obj_get((dir / pin::link).c_str()));
  if (!link) {
    return errno_error((dir / pin::link).string());
  }
  std::vector<Fd> maps;
  for (const char* name : pin::globals) {
    Fd map(bpf_obj_get((dir / name).c_str()));
    if (map) {
      maps.push_back(std::move(map));
    }
  }
  // Unloaded between the two: what is left would read as an ejection without a reason.
  if (!std::filesystem::exists(dir / pin::link)) {
    return errno_error((dir / pin::link).string(), ENOENT);
  }
  return PinnedClass(std::move(link), ClassGlobals(std::move(maps)));
}

// The link goes first: who finds it, finds the maps with the reason too. What else is in the directory is the meter's, or both's.
void PinnedClass::remove_pins(const std::filesystem::path& dir) {
  std::error_code failed;
  std::filesystem::remove(dir / pin::link, failed);
  for (const char* name : pin::globals) {
    std::filesystem::remove(dir / name, failed);
  }
  costs::remove_unused(dir);
  std::filesystem::remove(dir, failed);
}

Result<void> PinnedClass::unload(const Roots& roots) {
  const auto dir = directory(roots);
  const Fd link(bpf_obj_get((dir / pin::link).c_str()));
  if (!link) {
    return errno_error((dir / pin::link).string());
  }
  // Detaching is synchronous; dropping the last reference, which the pin may not be, is not. A class that was ejected
  // is detached already.
  if (bpf_link_detach(link.get()) != 0 && errno != EINVAL && errno != ENOENT) {
    return errno_error("cannot detach the class");
  }
  remove_pins(dir);
  if (std::filesystem::exists(dir / pin::link)) {
    return errno_error("cannot remove " + (dir / pin::link).string(), EBUSY);
  }
  return {};
}

}  // namespace spare
