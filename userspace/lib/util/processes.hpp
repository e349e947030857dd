// SPDX-License-Identifier: GPL-2.0-only
//
// Processes, as /proc (any directory like it) and cgroups tell of them.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace spare {

// A number that is all of the text; 0: it is none.
pid_t as_pid(std::string_view text);

// What cgroup.procs says. (0, a process of a pid namespace that is not below ours, is left out.)
std::vector<pid_t> pids_in(std::string_view text);

// Calls use(name, target) for each file descriptor of a process. Whether they could be looked at, if the process is there.
bool each_fd(const std::filesystem::path& proc, pid_t process, const std::function<void(const std::string&, const std::string&)>& use);

// Whoever makes a file system of his own (FUSE) chooses names and, where one asks, whether to answer. So a device is told by its kind, as the kernel has
// it already, and only then taken.
bool is_device(const std::filesystem::path& proc, pid_t process, const std::string& fd);

// What an emulator's command line calls its guest (-name, --name, --id; QEMU's "guest=" in it); empty: it says nothing.
std::string guest_name(const std::vector<std::string>& words);

}  // namespace spare
