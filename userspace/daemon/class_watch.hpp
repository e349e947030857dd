// SPDX-License-Identifier: GPL-2.0-only
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <utility>

#include "backoff.hpp"
#include "paths.hpp"
#include "util/result.hpp"

namespace spare {

// The class in the kernel: loaded or adopted at the start, loaded again after the kernel has ejected it (LIFE-1, LIFE-2).
class ClassWatch {
 public:
  using Clock = std::chrono::steady_clock;

  // before_replacing: called while the class of another build still runs, before it goes.
  ClassWatch(const Roots& roots, std::function<void()> before_replacing) : roots_(roots), before_replacing_(std::move(before_replacing)) {}

  // Loads the class, or adopts the one that runs.
  Result<void> start();

  // Looks at it; loads it again when that is due. An exit status: the daemon ends.
  std::optional<int> look();

  // When to look again, if no uevent of the kernel gives a reason before: the end of a scheduler is one.
  [[nodiscard]] Clock::time_point next() const;

  // How often the kernel has ended it; who unloads it is an operator.
  [[nodiscard]] std::uint64_t ejections() const { return ejections_; }

 private:
  std::optional<int> ended();
  void retry();
  void schedule(std::chrono::nanoseconds ran);

  const Roots& roots_;
  std::function<void()> before_replacing_;
  Backoff backoff_;
  Clock::time_point since_;                // when it came up
  std::optional<Clock::time_point> due_;   // away: when to load it again
  Clock::time_point looked_;               // when it was last seen,
  bool changing_ = false;                  // on its way in or out
  std::uint64_t ejections_ = 0;
  std::string complaint_;                  // the last one, so that each is made once
};

}  // namespace spare
