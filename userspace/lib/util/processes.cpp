// SPDX-License-Identifier: GPL-2.0-only
#include "util/processes.hpp"

#include <fcntl.h>
#include <sys/stat.h>

#include <charconv>

namespace spare {

namespace fs = std::filesystem;

pid_t as_pid(std::string_view text) {
  pid_t pid = 0;
  const auto [end, failed] = std::from_chars(text.data(), text.data() + text.size(), pid);
  return failed == std::errc() && end == text.data() + text.size() ? pid : 0;
}

bool each_fd(const fs::path& proc, pid_t process, const std::function<bool(const std::string&, const std::string&)>& use) {
  std::error_code failed;
  const auto dir = proc / std::to_string(process) / "fd";
  for (fs::directory_iterator entry(dir, failed), end; !failed && entry != end; entry.increment(failed)) {
    std::error_code gone;
    const auto target = fs::read_symlink(entry->path(), gone);
    if (!gone && !use(entry->path().filename().string(), target.string())) {
      break;
    }
  }
  return !failed || failed == std::errc::no_such_file_or_directory || failed == std::errc::no_such_process;
}

bool is_device(const fs::path& proc, pid_t process, const std::string& fd) {
  struct statx file {};
  const auto path = proc / std::to_string(process) / "fd" / fd;
  return ::statx(AT_FDCWD, path.c_str(), AT_STATX_DONT_SYNC, STATX_TYPE, &file) == 0 && S_ISCHR(file.stx_mode);
}

}  // namespace spare
