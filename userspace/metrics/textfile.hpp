// SPDX-License-Identifier: GPL-2.0-only
#pragma once

#include <filesystem>
#include <string_view>

#include "util/result.hpp"

namespace spare {

// Puts a file in the place of another, whole: a reader finds the old or the new one. Its directory may be another user's, who can make it fail but not
// write elsewhere; those above it are root's. (Not synced: after a crash of the host there is a new one within an interval.)
Result<void> replace_file(const std::filesystem::path& path, std::string_view text);
void remove_file(const std::filesystem::path& path);

}  // namespace spare
