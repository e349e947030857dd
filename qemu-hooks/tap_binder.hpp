// SPDX-License-Identifier: GPL-2.0-only
#pragma once

#include <sys/types.h>

#include <chrono>
#include <functional>
#include <set>
#include <string>
#include <vector>

#include "guest_taps.hpp"
#include "launch.hpp"
#include "util/links.hpp"
#include "util/result.hpp"

namespace spare_qemu {

// Keeps the guest's taps in spare.netdev of its cgroup: those that the command line names before QEMU starts, whatever its processes have
// opened once it runs, and each again when the kernel has unbound it. What others have bound there stays.
class TapBinder {
  using clock = std::chrono::steady_clock;

 public:
  // cgroup_dir: the cgroup's directory, which stays open; processes: those in it; complain: says a line.
  TapBinder(int cgroup_dir, std::string cgroup, const std::vector<std::string>& named, std::function<std::vector<pid_t>()> processes,
            std::function<void(const std::string&)> complain);

  // For as long as the guest runs. What is open is looked at while there are taps of which it is not known whose they are.
  [[nodiscard]] Watch watch() {
    return {events_.fd(), [this] { return look(); }};
  }

 private:
  std::chrono::milliseconds look();
  bool hear();
  void scan(bool news);
  std::set<int> open_now();
  void bind();
  [[nodiscard]] std::set<std::string> bound_now() const;
  [[nodiscard]] spare::Result<void> write(const std::set<std::string>& names) const;

  int cgroup_dir_;
  std::string cgroup_;
  std::function<std::vector<pid_t>()> processes_;
  std::function<void(const std::string&)> complain_;
  spare::TapEvents events_;
  GuestTaps taps_;
  std::set<std::string> refused_, elsewhere_;  // elsewhere: of which it has been said that they are in another network namespace
  clock::time_point due_ = clock::time_point::min(), again_ = clock::time_point::min();  // the next scan; the next try of what was refused
  std::chrono::milliseconds pause_;
};

}  // namespace spare_qemu
