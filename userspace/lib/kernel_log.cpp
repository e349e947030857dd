// SPDX-License-Identifier: GPL-2.0-only
#include "kernel_log.hpp"

#include <fcntl.h>

#include <array>
#include <cerrno>
#include <string_view>

namespace spare {
namespace {

constexpr std::string_view prefix = "sched_spare: ";

}  // namespace

KernelLog::KernelLog() : fd_(::open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC)) {
  if (fd_) {
    ::lseek(fd_.get(), 0, SEEK_END);
  }
}

std::string KernelLog::last_line() const {
  std::string line;
  std::array<char, 8192> record;
  while (fd_) {
    const ssize_t n = ::read(fd_.get(), record.data(), record.size());
    if (n < 0 && errno == EPIPE) {
      continue;  // records were overwritten before we came: the next read goes on after the gap
    }
    if (n <= 0) {
      break;
    }
    // "priority,sequence,time,flags;text\n" and perhaps more lines with tags
    std::string_view text(record.data(), static_cast<size_t>(n));
    text.remove_prefix(std::min(text.find(';') + 1, text.size()));
    text = text.substr(0, text.find('\n'));
    if (text.starts_with(prefix)) {
      line = text.substr(prefix.size());
    }
  }
  return line;
}

}  // namespace spare
