// SPDX-License-Identifier: GPL-2.0-only
//
// sparectl report: what a recording shows, as a table or as one page of HTML that needs nothing else.
#pragma once

#include <string>

#include "top/recording.hpp"
#include "util/result.hpp"

namespace sparectl::top {

// The page.
std::string html_of(Recording& recording);
// The table for a terminal.
std::string summary_of(Recording& recording);

// Writes the page to `html`; empty: prints the table.
spare::Result<void> run_report(const std::string& file, const std::string& html);

}  // namespace sparectl::top
