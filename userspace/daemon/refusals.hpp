// SPDX-License-Identifier: GPL-2.0-only
#pragma once

#include <chrono>
#include <map>
#include <string>
#include <utility>

namespace spare {

// CPUs that the module has refused although the files show room there (SCHED_DEADLINE threads, for one). They are not asked again in
// every pass: each refusal is a line in the kernel log.
class Refusals {
 public:
  void note(const std::string& path, unsigned cpu) { until_[{path, cpu}] = Clock::now() + pause; }
  [[nodiscard]] bool recent(const std::string& path, unsigned cpu) const {
    const auto found = until_.find({path, cpu});
    return found != until_.end() && Clock::now() < found->second;
  }
  void forget_old() {
    std::erase_if(until_, [now = Clock::now()](const auto& each) { return each.second <= now; });
  }

 private:
  using Clock = std::chrono::steady_clock;
  static constexpr std::chrono::seconds pause{60};

  std::map<std::pair<std::string, unsigned>, Clock::time_point> until_;
};

}  // namespace spare
