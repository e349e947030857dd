// SPDX-License-Identifier: GPL-2.0-only
#pragma once

#include <filesystem>

#include "paths.hpp"

namespace spare {

// Loads the class or adopts a running one, watches it, and keeps pools, members, placement and caps as the configuration file says,
// until SIGTERM or SIGINT; SIGHUP reads the file again. Returns the exit status: 0 when it was told to end (the class stays) or
// when an operator unloaded the class, 1 when class or configuration cannot be used.
int run_daemon(const Roots& roots, const std::filesystem::path& config_file);

}  // namespace spare
