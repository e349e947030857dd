// SPDX-License-Identifier: GPL-2.0-only
#pragma once

#include <fcntl.h>
#include <unistd.h>

#include <filesystem>
#include <string>
#include <string_view>

#include "util/fd.hpp"

namespace sparectl::top {

// A file of the kernel's that is read again and again: it stays open, and where there are no more file descriptors it is opened each time.
class KeptFile {
 public:
  KeptFile() = default;
  explicit KeptFile(std::filesystem::path path) : path_(std::move(path)) {}

  [[nodiscard]] const std::filesystem::path& path() const { return path_; }
  // Its whole text, in the buffer; empty: it cannot be read (it is gone).
  std::string_view read(std::string& buffer) {
    spare::Fd fd = std::move(fd_);
    if (!fd) {
      fd.reset(::open(path_.c_str(), O_RDONLY | O_CLOEXEC));
    }
    std::size_t got = 0;
    while (fd) {
      if (buffer.size() < got + chunk) {
        buffer.resize(got + chunk);
      }
      const ssize_t n = ::pread(fd.get(), buffer.data() + got, buffer.size() - got, static_cast<off_t>(got));
      if (n < 0 && errno == EINTR) {
        continue;
      }
      if (n < 0) {
        return {};
      }
      got += static_cast<std::size_t>(n);
      // (A file of the kernel's comes in one piece if the buffer has room for it.)
      if (n == 0 || got + chunk / 2 < buffer.size()) {
        break;
      }
    }
    if (fd.get() < kept_most) {
      fd_ = std::move(fd);
    }
    return {buffer.data(), got};
  }
  // As many as this process may have, but for some that others here need.
  static void keep_up_to(int descriptors) { kept_most = descriptors; }

 private:
  static constexpr std::size_t chunk = 65536;
  static inline int kept_most = 512;
  std::filesystem::path path_;
  spare::Fd fd_;
};

}  // namespace sparectl::top
