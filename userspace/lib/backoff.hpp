// SPDX-License-Identifier: GPL-2.0-only
#pragma once

#include <algorithm>
#include <chrono>

namespace spare {

// How long to wait before a class that has failed is loaded again (LIFE-2): 1 s, then twice as long each time, at most 60 s. One
// that was well for 5 min starts over.
class Backoff {
 public:
  static constexpr std::chrono::seconds first{1}, most{60};
  static constexpr std::chrono::minutes healthy{5};

  // It has failed after running for `ran` (zero: it did not come up).
  std::chrono::seconds after_failure(std::chrono::nanoseconds ran) {
    if (ran >= healthy) {
      next_ = first;
    }
    const std::chrono::seconds wait = next_;
    next_ = std::min(2 * next_, most);
    return wait;
  }

 private:
  std::chrono::seconds next_ = first;
};

}  // namespace spare
