// SPDX-License-Identifier: GPL-2.0-only
#pragma once

#include <spdlog/spdlog.h>

#include <map>
#include <string>

namespace spare {

// What is wrong, pass after pass: said in the log when it begins or changes, and not again while it lasts.
class Complaints {
 public:
  void say(const std::string& about, const std::string& text) {
    const auto before = before_.find(about);
    if (before == before_.end() || before->second != text) {
      spdlog::warn("{}", text);
    }
    now_[about] = text;
  }

  void end_of_pass() {
    before_.swap(now_);
    now_.clear();
  }

 private:
  std::map<std::string, std::string> before_, now_;
};

}  // namespace spare
