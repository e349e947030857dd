// SPDX-License-Identifier: GPL-2.0-only
#include "cpu_list.hpp"

#include <algorithm>
#include <charconv>
#include <iterator>
#include <optional>

#include "sched_spare/abi.h"
#include "util/files.hpp"

namespace spare {
namespace {

std::optional<unsigned> cpu_number(std::string_view text) {
  unsigned number = 0;
  const auto [end, failed] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (failed != std::errc() || end != text.data() + text.size() || number >= SPARE_CPUS_MAX) {
    return std::nullopt;
  }
  return number;
}

}  // namespace

Result<Cpus> parse_cpu_list(std::string_view text) {
  text = trim(text);
  Cpus cpus;
  while (!text.empty()) {
    const size_t comma = text.find(',');
    const std::string_view range = text.substr(0, comma);
    const size_t dash = range.find('-');
    const auto first = cpu_number(range.substr(0, dash));
    const auto last = dash == std::string_view::npos ? first : cpu_number(range.substr(dash + 1));
    if (!first || !last || *last < *first || comma + 1 == text.size()) {
      return Error{"'" + std::string(text) + "' is not a list of CPUs below " + std::to_string(SPARE_CPUS_MAX) + ", as 0-2,5", EINVAL};
    }
    for (unsigned cpu = *first; cpu <= *last; cpu++) {
      cpus.push_back(cpu);
    }
    text = comma == std::string_view::npos ? std::string_view() : text.substr(comma + 1);
  }
  std::sort(cpus.begin(), cpus.end());
  cpus.erase(std::unique(cpus.begin(), cpus.end()), cpus.end());
  return cpus;
}

std::string format_cpu_list(const Cpus& cpus) {
  std::string text;
  for (size_t i = 0; i < cpus.size();) {
    size_t end = i + 1;
    while (end < cpus.size() && cpus[end] == cpus[end - 1] + 1) {
      end++;
    }
    text += (text.empty() ? "" : ",") + std::to_string(cpus[i]);
    if (end - i > 1) {
      text += "-" + std::to_string(cpus[end - 1]);
    }
    i = end;
  }
  return text;
}

bool contains(const Cpus& cpus, unsigned cpu) { return std::binary_search(cpus.begin(), cpus.end(), cpu); }

Cpus intersection(const Cpus& a, const Cpus& b) {
  Cpus both;
  std::set_intersection(a.begin(), a.end(), b.begin(), b.end(), std::back_inserter(both));
  return both;
}

Cpus difference(const Cpus& a, const Cpus& b) {
  Cpus rest;
  std::set_difference(a.begin(), a.end(), b.begin(), b.end(), std::back_inserter(rest));
  return rest;
}

}  // namespace spare
