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

// Waits for it, passing on the signals that this process gets, and calls `periodically`, which says after how long it wants
// to be called again. Returns the wait status.
int wait_for(pid_t child, const std::function<std::chrono::milliseconds()>& periodically);

// Waits for that time, or until one of these signals comes, which it hands over.
void pass_on(std::chrono::milliseconds time, const std::function<void(int)>& signalled);

// Ends this process the way the child ended: same exit status, same signal.
[[noreturn]] void end_like(int wait_status);

// Becomes the program.
spare::Error become(const std::string& program, const std::vector<std::string>& arguments);

}  // namespace spare_qemu
