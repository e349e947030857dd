// SPDX-License-Identifier: GPL-2.0-only
//
// The VMs of a pinned meter: a file that says whose its slots are, for readers and for the next spared. spared(8) documents it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "meter.hpp"

namespace spare {

struct TableVm {
  BilledVm vm;
  bool named = false;  // it stays without processes
};

struct MeterTable {
  std::uint64_t epoch = 0;       // of which meter
  std::uint32_t generation = 0;  // as the meter's own (spare_meter_shared.table), which is odd while something changes
  std::uint64_t next_id = 1;
  std::vector<TableVm> vms;
  std::vector<MissingPart> missing;

  static std::filesystem::path path() { return std::filesystem::path(run_dir) / "meter.json"; }
  // Written beside and renamed: a reader finds the old or the new one, whole.
  [[nodiscard]] Result<void> write(const std::filesystem::path& file) const;
  static Result<MeterTable> read(const std::filesystem::path& file);

  [[nodiscard]] std::string as_text() const;
  static Result<MeterTable> parse(std::string_view text);
};

}  // namespace spare
