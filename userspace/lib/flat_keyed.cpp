// SPDX-License-Identifier: GPL-2.0-only
#include "flat_keyed.hpp"

#include <charconv>

#include "util/files.hpp"

namespace spare {

FlatKeyed FlatKeyed::parse(std::string_view text) {
  FlatKeyed result;
  for (const std::string& line : split(text, "\n")) {
    auto words = split(line, " \t");
    if (words.empty()) {
      continue;
    }
    std::string key = std::move(words.front());
    words.erase(words.begin());
    result.entries_.emplace_back(std::move(key), std::move(words));
  }
  return result;
}

std::optional<std::uint64_t> FlatKeyed::number(std::string_view key) const {
  for (const auto& [name, values] : entries_) {
    if (name == key && values.size() == 1) {
      const auto value = as_integer(values[0]);
      return value && *value >= 0 ? std::optional(static_cast<std::uint64_t>(*value)) : std::nullopt;
    }
  }
  return std::nullopt;
}

std::optional<std::int64_t> as_integer(std::string_view text) {
  std::int64_t value = 0;
  const auto [end, failed] = std::from_chars(text.data(), text.data() + text.size(), value);
  return failed == std::errc() && end == text.data() + text.size() ? std::optional(value) : std::nullopt;
}

}  // namespace spare
