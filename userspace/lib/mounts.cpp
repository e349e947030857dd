// SPDX-License-Identifier: GPL-2.0-only
#include "mounts.hpp"

#include <algorithm>

#include "util/files.hpp"

namespace spare {

Result<std::filesystem::path> find_cgroup2(const Roots& roots) {
  const auto table = read_file(roots.proc / "self/mountinfo");
  if (!table) {
    return table.error();
  }
  for (const std::string& line : split(*table, "\n")) {
    // id parent major:minor root mount-point options [tags] - type source super-options
    const auto words = split(line, " ");
    const auto dash = std::find(words.begin(), words.end(), "-");
    if (words.size() > 5 && dash != words.end() && dash + 1 != words.end() && dash[1] == "cgroup2") {
      return std::filesystem::path(words[4]);
    }
  }
  return Error{"cgroup v2 is not mounted", ENOENT};
}

}  // namespace spare
