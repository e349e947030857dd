// SPDX-License-Identifier: GPL-2.0-only
#include "costs.hpp"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "pinned_class.hpp"
#include "util/fd.hpp"

namespace spare::costs {
namespace {

std::filesystem::path path_in(const std::filesystem::path& directory) { return directory / "costs"; }

std::uint32_t id_of(int fd) {
  bpf_map_info info{};
  __u32 size = sizeof(info);
  return bpf_obj_get_info_by_fd(fd, &info, &size) == 0 ? info.id : 0;
}

}  // namespace

Result<void> reuse(const Roots& roots, bpf_map* map) {
  const Fd pinned(bpf_obj_get(path_in(PinnedClass::directory(roots)).c_str()));
  return !pinned || bpf_map__reuse_fd(map, pinned.get()) == 0 ? Result<void>() : errno_error("the map of what VMs cost");
}

Result<void> pin(const Roots& roots, int fd) {
  const auto path = path_in(PinnedClass::directory(roots));
  if (const Fd pinned(bpf_obj_get(path.c_str())); pinned) {
    return id_of(pinned.get()) == id_of(fd) ? Result<void>() : Error{path.string() + " is another map of what VMs cost", EPROTO};
  }
  std::error_code failed;
  std::filesystem::create_directory(path.parent_path(), failed);
  return bpf_obj_pin(fd, path.c_str()) == 0 ? Result<void>() : errno_error("cannot pin " + path.string());
}

bool is_shared(const Roots& roots, int fd) {
  const Fd pinned(bpf_obj_get(path_in(PinnedClass::directory(roots)).c_str()));
  return !pinned || id_of(pinned.get()) == id_of(fd);
}

void remove_unused(const std::filesystem::path& directory) {
  std::error_code failed;
  if (!std::filesystem::exists(directory / pin::link, failed) && !std::filesystem::exists(directory / pin::meter, failed)) {
    std::filesystem::remove(path_in(directory), failed);
  }
}

}  // namespace spare::costs
