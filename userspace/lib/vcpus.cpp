// SPDX-License-Identifier: GPL-2.0-only
#include "vcpus.hpp"

#include <algorithm>
#include <cctype>

#include "util/files.hpp"

namespace spare {
namespace {

namespace fs = std::filesystem;

unsigned vcpus_of(const Roots& roots, const fs::path& dir) {
  const auto threads = read_file(dir / "cgroup.threads");
  unsigned count = 0;
  for (const std::string& thread : threads ? split(*threads, "\n") : std::vector<std::string>()) {
    const auto comm = read_file(roots.proc / thread / "comm");
    count += comm && is_vcpu_name(trim(*comm));
  }
  return count;
}

}  // namespace

bool is_vcpu_name(std::string_view comm) {
  constexpr std::string_view head = "CPU ", tail = "/KVM";
  if (!comm.starts_with(head) || !comm.ends_with(tail) || comm.size() <= head.size() + tail.size()) {
    return false;
  }
  const auto digits = comm.substr(head.size(), comm.size() - head.size() - tail.size());
  return std::all_of(digits.begin(), digits.end(), [](unsigned char c) { return std::isdigit(c) != 0; });
}

unsigned vcpus_in(const Roots& roots, const CgroupTree& tree, const std::string& path) {
  const fs::path dir = tree.mount() / path.substr(1);
  unsigned count = vcpus_of(roots, dir);
  for (const fs::path& each : tree.below(dir)) {
    count += vcpus_of(roots, each);
  }
  return count;
}

}  // namespace spare
