// SPDX-License-Identifier: GPL-2.0-only
#include "reload_report.hpp"

#include <cstdio>
#include <fstream>

#include "flat_keyed.hpp"
#include "util/files.hpp"

namespace spare {

// Written beside and renamed, so that a reader finds the old or the new one, whole.
Result<void> ReloadReport::write() const {
  const std::string fresh = path().string() + ".new";
  {
    std::ofstream file(fresh, std::ios::trunc);
    file << count << "\n" << version << "\n" << mistake << "\n";
    if (!file.flush()) {
      return errno_error("cannot write " + fresh);
    }
  }
  return std::rename(fresh.c_str(), path().c_str()) == 0 ? Result<void>() : errno_error("cannot write " + path().string());
}

std::optional<ReloadReport> ReloadReport::read() {
  const auto text = read_file(path());
  const auto lines = text ? split(*text, "\n") : std::vector<std::string>();
  const auto count = lines.empty() ? std::nullopt : as_integer(lines[0]);
  if (!count || *count < 0 || lines.size() < 2) {
    return std::nullopt;
  }
  return ReloadReport{static_cast<std::uint64_t>(*count), lines.size() > 2 ? lines[2] : "", lines[1]};
}

}  // namespace spare
