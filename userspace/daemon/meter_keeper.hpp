// SPDX-License-Identifier: GPL-2.0-only
#pragma once

#include <cerrno>
#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "meter/counted.hpp"
#include "meter/meter.hpp"
#include "paths.hpp"

namespace spare {

// The meter that stays in the kernel while the configuration wants one ([meter]), whoever reads it and whether or not spared runs.
class MeterKeeper {
 public:
  using Clock = std::chrono::steady_clock;
  using Attach = std::function<Result<std::unique_ptr<Meter>>(const Roots&, const MeterStart&)>;
  static constexpr std::chrono::minutes retry{1};  // where that takes long, a hundred times as long

  explicit MeterKeeper(const Roots& roots, Attach attach = attach_meter) : roots_(roots), attach_(std::move(attach)) {}

  // Begins, going on with what a former spared has left; or takes away what is there. What cannot be done is said, and tried again: VMs are served all
  // the same.
  void configure(bool wanted);
  // To be polled; -1: nothing to wait for.
  [[nodiscard]] int fd() const { return meter_ ? meter_->fd() : -1; }
  void turn(Clock::time_point now = Clock::now());
  // ENOENT: there is none.
  [[nodiscard]] Result<Reading> read() const { return meter_ ? meter_->read() : Result<Reading>(Error{"there is no meter", ENOENT}); }
  // What packets cost by counting them, fitted to the bill once a second; as good as empty: there is none.
  [[nodiscard]] const CostModel& model() const { return counted_.model(); }

 private:
  static constexpr std::chrono::seconds fit_interval{1};

  void begin();
  void say_news() const;
  void fit();

  const Roots& roots_;
  Attach attach_;
  std::unique_ptr<Meter> meter_;
  bool wanted_ = false;
  Clock::time_point due_;  // to be tried again
  std::string complaint_;  // the last one, so that each is made once
  Reading before_;
  Counted counted_;
  Clock::time_point fit_due_;
};

}  // namespace spare
