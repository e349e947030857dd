// SPDX-License-Identifier: GPL-2.0-only
#pragma once

#include <functional>

#include "cli/options.hpp"
#include "plan.hpp"

namespace sparectl {

// The command line of sparectl plan and plan fit. Must outlive the parsing and what it leaves in `action`.
class PlanCommand {
 public:
  PlanCommand(cli::App& app, const spare::Roots& roots, std::function<spare::Result<void>()>& action);
  PlanCommand(const PlanCommand&) = delete;
  PlanCommand& operator=(const PlanCommand&) = delete;

 private:
  PlanOptions plan_;
  FitOptions fit_;
};

}  // namespace sparectl
