// SPDX-License-Identifier: GPL-2.0-only
#include "metrics/textfile.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <string_view>

#include "util/fd.hpp"

namespace spare {
namespace {

// (A link in its place is not followed.)
Fd directory_of(const std::filesystem::path& path) { return Fd(::open(path.parent_path().c_str(), O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)); }

bool write_all(const Fd& file, std::string_view left) {
  while (!left.empty()) {
    const ssize_t n = ::write(file.get(), left.data(), left.size());
    if (n < 0 && errno != EINTR) {
      return false;
    }
    left.remove_prefix(n < 0 ? 0 : static_cast<size_t>(n));
  }
  return true;
}

}  // namespace

Result<void> replace_file(const std::filesystem::path& path, std::string_view text) {
  const std::string name = path.filename(), fresh = name + ".new";
  const Fd dir = directory_of(path);
  if (!dir) {
    return errno_error("cannot write into " + path.parent_path().string());
  }
  ::unlinkat(dir.get(), fresh.c_str(), 0);  // of one that was killed
  const Fd file(::openat(dir.get(), fresh.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644));
  if (file && ::fchmod(file.get(), 0644) == 0 && write_all(file, text) && ::renameat(dir.get(), fresh.c_str(), dir.get(), name.c_str()) == 0) {
    return {};
  }
  const Error error = errno_error("cannot write " + path.string());
  ::unlinkat(dir.get(), fresh.c_str(), 0);
  return error;
}

void remove_file(const std::filesystem::path& path) { ::unlinkat(directory_of(path).get(), path.filename().c_str(), 0); }

}  // namespace spare
