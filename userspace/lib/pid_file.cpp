// SPDX-License-Identifier: GPL-2.0-only
#include "pid_file.hpp"

#include <fcntl.h>
#include <sys/stat.h>

#include <cstdlib>
#include <string>

#include "util/files.hpp"

namespace spare {
namespace {

struct flock whole_file(short type) {
  struct flock lock {};
  lock.l_type = type;
  lock.l_whence = SEEK_SET;
  return lock;
}

}  // namespace

Result<PidFile> PidFile::take(const std::filesystem::path& path) {
  std::error_code failed;
  std::filesystem::create_directories(path.parent_path(), failed);
  if (failed) {
    return errno_error("cannot make " + path.parent_path().string(), failed.value());
  }
  Fd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644));
  if (!fd) {
    return errno_error("cannot open " + path.string());
  }
  struct flock lock = whole_file(F_WRLCK);
  if (::fcntl(fd.get(), F_OFD_SETLK, &lock) != 0) {
    const auto other = holder(path);
    return Error{"another process holds " + path.string() + (other ? ": pid " + std::to_string(*other) : ""), EBUSY};
  }
  const std::string pid = std::to_string(::getpid()) + "\n";
  if (::ftruncate(fd.get(), 0) != 0 || ::pwrite(fd.get(), pid.data(), pid.size(), 0) < 0) {
    return errno_error("cannot write " + path.string());
  }
  return PidFile(std::move(fd));
}

std::optional<int> PidFile::holder(const std::filesystem::path& path) {
  const Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) {
    return std::nullopt;
  }
  struct flock lock = whole_file(F_WRLCK);
  if (::fcntl(fd.get(), F_OFD_GETLK, &lock) != 0 || lock.l_type == F_UNLCK) {
    return std::nullopt;
  }
  // Such a lock belongs to the open file, so the kernel names no process: the file does.
  const auto text = read_file(path);
  return text ? std::optional(std::atoi(text->c_str())) : std::nullopt;
}

}  // namespace spare
