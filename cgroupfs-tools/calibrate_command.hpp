// SPDX-License-Identifier: GPL-2.0-only
#pragma once

#include <functional>

#include "cli/options.hpp"
#include "paths.hpp"
#include "util/result.hpp"

namespace sparectl {

// sparectl calibrate: adds the command; when it is given, `action` is what it does.
class CalibrateCommand {
 public:
  CalibrateCommand(cli::App& app, const spare::Roots& roots, std::function<spare::Result<void>()>& action);

 private:
  bool json_ = false;
};

}  // namespace sparectl
