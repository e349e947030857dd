// SPDX-License-Identifier: GPL-2.0-only
#include "scan.hpp"

#include <system_error>

#include "util/processes.hpp"

namespace spare {
namespace {

namespace fs = std::filesystem;

// The next one, or the end where there is none to be had.
void advance(fs::directory_iterator& at) {
  std::error_code failed;
  at.increment(failed);
  if (failed) {
    at = {};
  }
}

bool runs_guests(const fs::path& proc, pid_t process, const fs::path& fd) {
  std::error_code gone;
  const auto target = fs::read_symlink(fd, gone).string();
  return target == "anon_inode:kvm-vm" || (target.starts_with("/dev/vhost-") && is_device(proc, process, fd.filename().string()));
}

}  // namespace

GuestScan::GuestScan(const Roots& roots) : proc_(roots.proc) {
  std::error_code failed;
  processes_ = fs::directory_iterator(proc_, failed);
  skip_to_process();
}

void GuestScan::skip_to_process() {
  for (; !done(); advance(processes_)) {
    if (as_pid(processes_->path().filename().string()) != 0) {
      std::error_code failed;
      fds_ = fs::directory_iterator(processes_->path() / "fd", failed);
      seen_ = 0;
      return;
    }
  }
}

std::vector<pid_t> GuestScan::next(std::size_t files) {
  std::vector<pid_t> found;
  for (; files > 0 && !done(); files--) {
    if (fds_ == fs::directory_iterator() || seen_++ == fds_most) {
      advance(processes_);
      skip_to_process();
    } else if (const pid_t process = as_pid(processes_->path().filename().string()); runs_guests(proc_, process, fds_->path())) {
      found.push_back(process);
      fds_ = {};
    } else {
      advance(fds_);
    }
  }
  return found;
}

}  // namespace spare
