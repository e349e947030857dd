// SPDX-License-Identifier: GPL-2.0-only
#pragma once

#include <sys/types.h>

#include <chrono>
#include <functional>
#include <string>
#include <vector>

#include "util/result.hpp"

namespace spare_qemu {

// Blocks the signals that wait_for() handles. Call it before anything is started, and made that has to be cleaned up.
void block_signals();

// Starts a program inside a cgroup: it has never run outside. When this process dies, it gets SIGTERM.
spare::Result<pid_t> start_in_cgroup(int cgroup_dir, const std::string& program, const std::vector<std::string>& arguments);

// What else the wrapper does while it waits: `look`, when `wake` (a file descriptor; -1: none) can be read, and after the time that it asked for
// last.
struct Watch {
  int wake = -1;
  std::function<std::chrono::milliseconds()> look;
};

// Waits for the child, passing on the signals that this process gets. Returns the wait status.
int wait_for(pid_t child, const Watch& watch);

// Waits until `done`, asked at least every second; hands over the signals that this process gets.
void wait_until(const std::function<bool()>& done, const std::function<void(int)>& signalled, const Watch& watch);

// Ends this process the way the child ended: same exit status, same signal.
[[noreturn]] void end_like(int wait_status);

// Becomes the program.
spare::Error become(const std::string& program, const std::vector<std::string>& arguments);

}  // namespace spare_qemu
