// SPDX-License-Identifier: GPL-2.0-only
#include "util/files.hpp"

#include <unistd.h>

namespace spare {

Result<std::string> read_file_at(int dir, const std::string& name) {
  const Fd fd(::openat(dir, name.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) {
    return errno_error(name);
  }
  std::string text;
  char buffer[4096];
  for (;;) {
    const ssize_t n = ::read(fd.get(), buffer, sizeof(buffer));
    if (n < 0 && errno == EINTR) {
      continue;
    }
    if (n < 0) {
      return errno_error(name);
    }
    if (n == 0) {
      return text;
    }
    text.append(buffer, static_cast<size_t>(n));
  }
}

Result<void> write_file_at(int dir, const std::string& name, std::string_view text) {
  const Fd fd(::openat(dir, name.c_str(), O_WRONLY | O_TRUNC | O_CLOEXEC));
  if (!fd) {
    return errno_error(name);
  }
  // An empty write() never reaches a control file's handler: a lone newline means "empty" to the kernel's parsers.
  const std::string_view data = text.empty() ? std::string_view("\n") : text;
  ssize_t n;
  do {
    n = ::write(fd.get(), data.data(), data.size());
  } while (n < 0 && errno == EINTR);
  if (n < 0) {
    return errno_error(name);
  }
  if (static_cast<size_t>(n) != data.size()) {
    return Error{name + ": only a part of the value was taken", EIO};
  }
  return {};
}

std::string_view trim(std::string_view text) {
  constexpr std::string_view blank = " \t\r\n";
  const size_t first = text.find_first_not_of(blank);
  if (first == std::string_view::npos) {
    return {};
  }
  return text.substr(first, text.find_last_not_of(blank) - first + 1);
}

std::vector<std::string> split(std::string_view text, std::string_view separators) {
  std::vector<std::string> words;
  size_t begin = text.find_first_not_of(separators);
  while (begin != std::string_view::npos) {
    const size_t end = text.find_first_of(separators, begin);
    words.emplace_back(text.substr(begin, end - begin));
    begin = end == std::string_view::npos ? end : text.find_first_not_of(separators, end);
  }
  return words;
}

}  // namespace spare
