// SPDX-License-Identifier: GPL-2.0-only
#pragma once

#include <fcntl.h>

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "util/fd.hpp"
#include "util/result.hpp"

namespace spare {

// The whole of a (pseudo) file, relative to a directory fd or absolute with AT_FDCWD. The error's code is the errno.
// At most so many bytes: of what others write.
Result<std::string> read_file_at(int dir, const std::string& name, std::size_t limit = std::string::npos);
inline Result<std::string> read_file(const std::filesystem::path& path, std::size_t limit = std::string::npos) {
  return read_file_at(AT_FDCWD, path, limit);
}

// One write() of the whole text, as the kernel's control files want it. The file must exist.
Result<void> write_file_at(int dir, const std::string& name, std::string_view text);

std::string_view trim(std::string_view text);
// A name of any bytes as one line that may be shown on a terminal, in a log and in JSON: what is not printable UTF-8, control characters, and those that
// turn the direction of what is beside them are written as \xNN, byte by byte. (A backslash stays one: systemd's names are full of them.)
// Of more than so many characters the first ones, and "...".
std::string printable(std::string_view text, std::size_t most = std::string::npos);
// A text of several lines, each of them so.
std::string printable_lines(std::string_view text);
// Words between any of the separators; empty ones are left out.
std::vector<std::string> split(std::string_view text, std::string_view separators);

}  // namespace spare
