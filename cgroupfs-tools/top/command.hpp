// SPDX-License-Identifier: GPL-2.0-only
#pragma once

#include <functional>

#include "cli/options.hpp"
#include "top/batch.hpp"
#include "top/live.hpp"

namespace sparectl::top {

// The command lines of sparectl top, record and report. Must outlive the parsing and what it leaves in `action`.
class TopCommand {
 public:
  TopCommand(cli::App& app, const spare::Roots& roots, std::function<spare::Result<void>()>& action);
  TopCommand(const TopCommand&) = delete;
  TopCommand& operator=(const TopCommand&) = delete;

 private:
  void add_top(cli::App& app, const spare::Roots& roots, std::function<spare::Result<void>()>& action);
  [[nodiscard]] spare::Result<void> run_top(const spare::Roots& roots);

  LiveOptions live_;
  BatchOptions batch_;
  RecordOptions record_;
  bool is_batch_ = false, json_ = false, csv_ = false, no_color_ = false, columns_ = false;
  std::string file_, html_;
};

}  // namespace sparectl::top
