// SPDX-License-Identifier: GPL-2.0-only
#pragma once

#include <filesystem>
#include <optional>

#include "util/fd.hpp"
#include "util/result.hpp"

namespace spare {

// A file that one process at a time can hold. The lock goes with the process, however it ends; the file may stay.
class PidFile {
 public:
  // Takes the file, creating it and its directory. EBUSY: another process holds it.
  static Result<PidFile> take(const std::filesystem::path& path);
  // The process that holds it now.
  static std::optional<int> holder(const std::filesystem::path& path);

 private:
  explicit PidFile(Fd fd) : fd_(std::move(fd)) {}
  Fd fd_;
};

}  // namespace spare
