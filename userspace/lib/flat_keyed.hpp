// SPDX-License-Identifier: GPL-2.0-only
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace spare {

// A "flat keyed" cgroup file (spare.stat, spare.events): a key and its value per line, in the kernel's order. A value is
// mostly one number; a histogram has several.
class FlatKeyed {
 public:
  static FlatKeyed parse(std::string_view text);

  [[nodiscard]] const std::vector<std::pair<std::string, std::vector<std::string>>>& entries() const { return entries_; }
  // The number of a key; nothing when it is absent or not one number.
  [[nodiscard]] std::optional<std::uint64_t> number(std::string_view key) const;

 private:
  std::vector<std::pair<std::string, std::vector<std::string>>> entries_;
};

std::optional<std::int64_t> as_integer(std::string_view text);

}  // namespace spare
