// SPDX-License-Identifier: GPL-2.0-only
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <filesystem>
#include <string>
#include <vector>

#include "paths.hpp"

namespace spare {

// Looks through /proc for processes that hold a VM of KVM's, or vhost's device. Tenants' processes may have any number of files, and so may it take any
// time: it is done piece by piece, and of a process so many files are looked at. (Whoever enters KVM is found without.)
class GuestScan {
 public:
  static constexpr std::size_t fds_most = 65536;

  explicit GuestScan(const Roots& roots);

  // Those that are found among the next so many files.
  std::vector<pid_t> next(std::size_t files);
  [[nodiscard]] bool done() const { return processes_ == std::filesystem::directory_iterator(); }

 private:
  void skip_to_process();

  std::filesystem::path proc_;
  std::filesystem::directory_iterator processes_, fds_;
  std::size_t seen_ = 0;  // files of this process
};

}  // namespace spare
