// SPDX-License-Identifier: GPL-2.0-only
//
// sparectl top in a terminal.
#pragma once

#include "paths.hpp"
#include "top/ui.hpp"
#include "util/result.hpp"

namespace sparectl::top {

struct LiveOptions {
  double delay_s = 1;
  bool color = true;
  std::string view = "vm", sort, filter;
  std::string replay;  // a recording in place of this host
};

// Until its user quits, or the terminal goes.
spare::Result<void> run_live(const spare::Roots& roots, const LiveOptions& options);

}  // namespace sparectl::top
