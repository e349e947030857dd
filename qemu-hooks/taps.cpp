// SPDX-License-Identifier: GPL-2.0-only
#include "taps.hpp"

#include <utility>

#include "util/files.hpp"
#include "util/procfs.hpp"

namespace spare_qemu {

std::set<std::string> open_taps(const std::vector<pid_t>& processes, const std::filesystem::path& proc) {
  std::set<std::string> names;
  for (const pid_t process : processes) {
    std::error_code failed;
    const auto dir = proc / std::to_string(process) / "fdinfo";
    for (std::filesystem::directory_iterator entry(dir, failed), end; !failed && entry != end; entry.increment(failed)) {
      const auto info = spare::read_file(entry->path());
      std::string name = info ? spare::tap_of_fdinfo(*info) : std::string();
      if (!name.empty()) {
        names.insert(std::move(name));
      }
    }
  }
  return names;
}

}  // namespace spare_qemu
