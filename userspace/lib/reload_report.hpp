// SPDX-License-Identifier: GPL-2.0-only
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "paths.hpp"
#include "util/result.hpp"

namespace spare {

// What became of the configuration: the daemon says it each time that it reads it, `sparectl reload` waits for it.
struct ReloadReport {
  std::uint64_t count = 0;  // how often this daemon has read it
  std::string mistake;      // "FILE:LINE: ..."; empty: it is in force
  std::string version = SPARE_VERSION;  // the daemon's

  static std::filesystem::path path() { return std::filesystem::path(run_dir) / "config"; }
  [[nodiscard]] Result<void> write() const;
  static std::optional<ReloadReport> read();
};

}  // namespace spare
