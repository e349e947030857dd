// SPDX-License-Identifier: GPL-2.0-only
#include "util/processes.hpp"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <charconv>

#include "util/files.hpp"

namespace spare {

namespace fs = std::filesystem;

pid_t as_pid(std::string_view text) {
  pid_t pid = 0;
  const auto [end, failed] = std::from_chars(text.data(), text.data() + text.size(), pid);
  return failed == std::errc() && end == text.data() + text.size() ? pid : 0;
}

std::vector<pid_t> pids_in(std::string_view text) {
  std::vector<pid_t> all;
  for (const std::string& word : split(text, " \n")) {
    if (const pid_t pid = as_pid(word); pid > 0) {
      all.push_back(pid);
    }
  }
  return all;
}

bool each_fd(const fs::path& proc, pid_t process, const std::function<void(const std::string&, const std::string&)>& use) {
  std::error_code failed;
  const auto dir = proc / std::to_string(process) / "fd";
  for (fs::directory_iterator entry(dir, failed), end; !failed && entry != end; entry.increment(failed)) {
    std::error_code gone;
    const auto target = fs::read_symlink(entry->path(), gone);
    if (!gone) {
      use(entry->path().filename().string(), target.string());
    }
  }
  return !failed || failed == std::errc::no_such_file_or_directory || failed == std::errc::no_such_process;
}

bool is_device(const fs::path& proc, pid_t process, const std::string& fd) {
  struct statx file {};
  const auto path = proc / std::to_string(process) / "fd" / fd;
  return ::statx(AT_FDCWD, path.c_str(), AT_STATX_DONT_SYNC, STATX_TYPE, &file) == 0 && S_ISCHR(file.stx_mode);
}

std::string guest_name(const std::vector<std::string>& words) {
  constexpr std::array<std::string_view, 3> options = {"-name", "--name", "--id"};
  constexpr std::string_view guest = "guest=";
  std::string name;
  for (size_t i = 0; i + 1 < words.size(); i++) {
    if (std::find(options.begin(), options.end(), words[i]) == options.end()) {
      continue;
    }
    const auto parts = split(words[++i], ",");
    const auto named = std::find_if(parts.begin(), parts.end(), [](const std::string& part) { return part.starts_with(guest); });
    if (named != parts.end()) {
      name = named->substr(guest.size());
    } else {
      name = parts.empty() || parts[0].find('=') != std::string::npos ? std::string() : parts[0];
    }
  }
  return name;
}

}  // namespace spare
