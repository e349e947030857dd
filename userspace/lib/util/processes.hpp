// SPDX-License-Identifier: GPL-2.0-only
//
// What a process has open, as /proc or any directory like it tells.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <functional>
#include <string>
#include <string_view>

namespace spare {

// A number that is all of the text; 0: it is none.
pid_t as_pid(std::string_view text);

// Calls use(name, target) for each file descriptor of a process while it returns true. Whether they could be looked at, if the process is there.
bool each_fd(const std::filesystem::path& proc, pid_t process, const std::function<bool(const std::string&, const std::string&)>& use);

// Whoever makes a file system of his own (FUSE) chooses names and, where one asks, whether to answer. So a device is told by its kind, as the kernel has
// it already, and only then taken.
bool is_device(const std::filesystem::path& proc, pid_t process, const std::string& fd);

}  // namespace spare
