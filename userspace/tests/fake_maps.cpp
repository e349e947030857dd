// SPDX-License-Identifier: GPL-2.0-only
//
// In place of libbpf's: hash tables of this process, by a number that stands for a map's file descriptor.
#include "fake_maps.hpp"

#include <bpf/bpf.h>

#include <cerrno>
#include <cstring>
#include <map>
#include <string>

namespace {

using Bytes = std::string;
struct FakeMap {
  std::size_t key, value;
  std::map<Bytes, Bytes> entries;
};

std::map<int, FakeMap>& maps() {
  static std::map<int, FakeMap> all;
  return all;
}

Bytes bytes_of(const void* at, std::size_t size) { return {static_cast<const char*>(at), size}; }

int fail(int code) {
  errno = code;
  return -code;
}

}  // namespace

int make_fake_map(std::size_t key, std::size_t value) {
  static int next = 1000000;
  maps().emplace(next, FakeMap{key, value, {}});
  return next++;
}

extern "C" {

int bpf_map_lookup_elem(int fd, const void* key, void* value) {
  const FakeMap& map = maps().at(fd);
  const auto found = map.entries.find(bytes_of(key, map.key));
  if (found == map.entries.end()) {
    return fail(ENOENT);
  }
  std::memcpy(value, found->second.data(), map.value);
  return 0;
}

int bpf_map_update_elem(int fd, const void* key, const void* value, __u64) {
  FakeMap& map = maps().at(fd);
  map.entries.insert_or_assign(bytes_of(key, map.key), bytes_of(value, map.value));
  return 0;
}

int bpf_map_delete_elem(int fd, const void* key) {
  FakeMap& map = maps().at(fd);
  return map.entries.erase(bytes_of(key, map.key)) > 0 ? 0 : fail(ENOENT);
}

}  // extern "C"
