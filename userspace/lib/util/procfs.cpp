// SPDX-License-Identifier: GPL-2.0-only
#include "util/procfs.hpp"

#include <charconv>

#include "util/files.hpp"

namespace spare {

std::vector<pid_t> processes_of(std::string_view cgroup_procs) {
  std::vector<pid_t> all;
  for (const std::string& word : split(cgroup_procs, "\n")) {
    pid_t process = 0;
    std::from_chars(word.data(), word.data() + word.size(), process);
    if (process > 0) {
      all.push_back(process);
    }
  }
  return all;
}

std::string key_in(std::string_view list, std::string_view key) {
  for (const std::string& part : split(list, ",")) {
    if (part.size() > key.size() && part.starts_with(key) && part[key.size()] == '=') {
      return part.substr(key.size() + 1);
    }
  }
  return {};
}

std::string guest_of_option(std::string_view value) {
  const std::string guest = key_in(value, "guest");
  const std::string first(value.substr(0, value.find(',')));
  return !guest.empty() ? guest : first.find('=') == std::string::npos ? first : std::string();
}

}  // namespace spare
