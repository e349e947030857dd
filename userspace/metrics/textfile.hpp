// SPDX-License-Identifier: GPL-2.0-only
#pragma once

#include <string>

#include "util/result.hpp"

namespace spare {

// Puts a file in the place of another, whole: a reader finds the old or the new one. Its directory may be another user's, who can make it fail but not
// write elsewhere. (Not synced: after a crash of the host there is a new one within an interval.)
Result<void> replace_file(const std::string& path, const std::string& text);

}  // namespace spare
