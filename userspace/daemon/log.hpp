// SPDX-License-Identifier: GPL-2.0-only
#pragma once

#include <spdlog/formatter.h>

#include <memory>

namespace spare {

// Lines as spared writes them, printable whatever names are in them; for the journal with its priority in front, as in sd-daemon(3).
std::unique_ptr<spdlog::formatter> log_formatter(bool to_journal);
// All that is logged goes to standard error, verbose: with level debug.
void set_up_log(bool verbose);

}  // namespace spare
