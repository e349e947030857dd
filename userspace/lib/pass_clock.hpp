// SPDX-License-Identifier: GPL-2.0-only
#pragma once

#include <algorithm>
#include <chrono>

namespace spare {

// When spared's next pass is due.
class PassClock {
 public:
  using Time = std::chrono::steady_clock::time_point;
  using Duration = std::chrono::steady_clock::duration;

  // Who makes a cgroup writes several of its files: a pass waits until nothing has changed for a while, but not for ever.
  static constexpr std::chrono::milliseconds quiet{100}, patience{1000};
  // A pass without a reason: for vCPU threads that have come, and for what no watch has seen.
  static constexpr std::chrono::milliseconds interval{5000};
  // Rest after a pass, in lengths of it: at most 2 % of a CPU without a reason, and a tenth whatever tenants change; where a pass takes long, no
  // longer than an interval, or one tenant with many threads would hold up all others.
  static constexpr int rest_idle = 50, rest_busy = 9;

  explicit PassClock(Time now) : due_(now) {}

  // Something has changed.
  void reason(Time now) {
    last_ = now;
    first_ = std::min(first_, now);
  }
  void done(Time now, Duration took) {
    first_ = none;
    rested_ = now + std::min<Duration>(rest_busy * took, interval);
    due_ = now + std::max<Duration>(interval, rest_idle * took);
  }
  [[nodiscard]] Time due() const { return first_ == none ? due_ : std::min(due_, std::max(std::min(last_ + quiet, first_ + patience), rested_)); }

 private:
  static constexpr Time none = Time::max();
  Time first_ = none, last_, rested_, due_;
};

}  // namespace spare
