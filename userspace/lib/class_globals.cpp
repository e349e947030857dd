// SPDX-License-Identifier: GPL-2.0-only
#include "class_globals.hpp"

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <fmt/format.h>

#include <cstring>
#include <memory>

namespace spare {
namespace {

// Bytes of one global variable, found through the BTF that the kernel keeps with the map: an adopted class may have been
// compiled from other sources, with another layout.
std::optional<std::vector<char>> global_in(int map, const std::string& name) {
  bpf_map_info info{};
  __u32 length = sizeof(info);
  if (bpf_map_get_info_by_fd(map, &info, &length) != 0 || info.btf_id == 0) {
    return std::nullopt;
  }
  const std::unique_ptr<btf, void (*)(btf*)> types(btf__load_from_kernel_by_id(info.btf_id), btf__free);
  const btf_type* section = types ? btf__type_by_id(types.get(), info.btf_value_type_id) : nullptr;
  if (section == nullptr || !btf_is_datasec(section)) {
    return std::nullopt;
  }
  for (int i = 0; i < btf_vlen(section); i++) {
    const btf_var_secinfo& place = btf_var_secinfos(section)[i];
    const btf_type* variable = btf__type_by_id(types.get(), place.type);
    if (variable == nullptr || name != btf__name_by_offset(types.get(), variable->name_off)) {
      continue;
    }
    std::vector<char> value(info.value_size);
    const __u32 key = 0;
    if (bpf_map_lookup_elem(map, &key, value.data()) != 0 || place.offset + place.size > value.size()) {
      return std::nullopt;
    }
    return std::vector<char>(value.begin() + place.offset, value.begin() + place.offset + place.size);
  }
  return std::nullopt;
}

std::uint64_t as_number(const std::optional<std::vector<char>>& bytes) {
  std::uint64_t number = 0;
  if (bytes && bytes->size() <= sizeof(number)) {
    std::memcpy(&number, bytes->data(), bytes->size());  // BPF has the byte order of its host
  }
  return number;
}

std::string as_text(const std::optional<std::vector<char>>& bytes) {
  return bytes ? std::string(bytes->data(), ::strnlen(bytes->data(), bytes->size())) : std::string();
}

}  // namespace

std::string build_text(std::uint64_t build) { return fmt::format("{:016x}", build).substr(0, 8); }

std::string ExitInfo::text() const {
  std::string result = reason.empty() ? "kind " + std::to_string(kind) : reason;
  if (!message.empty()) {
    result += ": " + message;
  }
  return result;
}

std::optional<std::vector<char>> ClassGlobals::find(const std::string& name) const {
  for (const Fd& map : maps_) {
    auto value = global_in(map.get(), name);
    if (value) {
      return value;
    }
  }
  return std::nullopt;
}

std::optional<unsigned> ClassGlobals::abi() const {
  const auto value = find("spare_abi");
  return value ? std::optional(static_cast<unsigned>(as_number(value))) : std::nullopt;
}

std::uint64_t ClassGlobals::counter(const std::string& name) const { return as_number(find(name)); }

ExitInfo ClassGlobals::exit_info() const {
  ExitInfo info;
  info.kind = static_cast<std::uint32_t>(as_number(find("exit_info_kind")));
  info.reason = as_text(find("exit_info_reason"));
  info.message = as_text(find("exit_info_msg"));
  info.dump = as_text(find("exit_info_dump"));
  return info;
}

}  // namespace spare
