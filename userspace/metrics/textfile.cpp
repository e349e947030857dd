// SPDX-License-Identifier: GPL-2.0-only
#include "metrics/textfile.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <string_view>

#include "util/fd.hpp"

namespace spare {

Result<void> replace_file(const std::string& path, const std::string& text) {
  const std::string fresh = path + ".new";
  const auto fail = [&] { return errno_error("cannot write " + path); };
  ::unlink(fresh.c_str());  // of one that was killed
  const Fd file(::open(fresh.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644));
  if (!file || ::fchmod(file.get(), 0644) != 0) {
    return fail();
  }
  for (std::string_view left = text; !left.empty();) {
    const ssize_t n = ::write(file.get(), left.data(), left.size());
    if (n < 0 && errno != EINTR) {
      const Error error = fail();
      ::unlink(fresh.c_str());
      return error;
    }
    left.remove_prefix(n < 0 ? 0 : static_cast<size_t>(n));
  }
  return std::rename(fresh.c_str(), path.c_str()) == 0 ? Result<void>() : fail();
}

}  // namespace spare
