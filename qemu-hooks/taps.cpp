// SPDX-License-Identifier: GPL-2.0-only
#include "taps.hpp"

#include "util/files.hpp"

namespace spare_qemu {

std::set<std::string> open_taps(const std::vector<pid_t>& processes, const std::filesystem::path& proc) {
  constexpr std::string_view field = "iff:";
  std::set<std::string> names;
  for (const pid_t process : processes) {
    std::error_code failed;
    const auto dir = proc / std::to_string(process) / "fdinfo";
    for (std::filesystem::directory_iterator entry(dir, failed), end; !failed && entry != end; entry.increment(failed)) {
      const auto info = spare::read_file(entry->path());
      if (!info) {
        continue;
      }
      for (const std::string& line : spare::split(*info, "\n")) {
        const std::string_view name = line.starts_with(field) ? spare::trim(std::string_view(line).substr(field.size())) : "";
        if (!name.empty()) {
          names.emplace(name);
        }
      }
    }
  }
  return names;
}

}  // namespace spare_qemu
