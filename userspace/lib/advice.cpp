// SPDX-License-Identifier: GPL-2.0-only
#include "advice.hpp"

#include <fmt/format.h>

#include "util/files.hpp"

namespace spare {
namespace {

constexpr std::uint64_t seldom_percent = 5;  // of all that was granted

std::uint64_t in_policy(const std::string& policy, std::string_view key) {
  for (const std::string& word : split(policy, " \n")) {
    if (word.size() > key.size() && word.starts_with(key) && word[key.size()] == '=') {
      return static_cast<std::uint64_t>(as_integer(std::string_view(word).substr(key.size() + 1)).value_or(0));
    }
  }
  return 0;
}

}  // namespace

std::vector<std::string> advice(const Vm& vm, std::uint64_t spare_us) {
  const auto stat = [&](std::string_view key) { return vm.stat.number(key).value_or(0); };
  const std::uint64_t granted = stat("granted"), grant_us = in_policy(vm.policy, "grant_us"), chances = in_policy(vm.policy, "chances");
  const auto often = [&](std::string_view key) { return !vm.provider && stat(key) > 0 && stat(key) * 100 >= granted * seldom_percent; };
  std::vector<std::string> lines;
  if (often("short")) {
    const std::string knob = chances > 0 ? fmt::format("grant_us ({}) or chances ({})", grant_us, chances) : fmt::format("grant_us ({})", grant_us);
    const bool all = spare_us > 0 && grant_us >= spare_us;
    lines.push_back(fmt::format("{} of {} grants ended while a vCPU would have run on: raise {} in spare.policy{}", stat("short"), granted, knob,
                                all ? fmt::format(", and Q of the providers ({} us), of which no grant has more in one of their periods", spare_us) : ""));
  }
  if (often("short_gain")) {
    lines.push_back(fmt::format("{} of {} grants ended because the VM could gain no more: raise gain_us in spare.policy, or with payback the VM's own reservation",
                                stat("short_gain"), granted));
  }
  if (often("short_q")) {
    lines.push_back(fmt::format("{} times for {} grants the provider's budget ended while a vCPU would have run on: raise Q of the providers{}", stat("short_q"), granted,
                                spare_us > 0 ? fmt::format(" ({} us)", spare_us) : ""));
  }
  return lines;
}

}  // namespace spare
