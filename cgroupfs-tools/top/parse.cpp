// SPDX-License-Identifier: GPL-2.0-only
#include "top/parse.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <string>
#include <utility>

namespace sparectl::top {
namespace {

// Calls use(first word, rest) for each line. (Thousands of lines a second: nothing is copied.)
template <typename Use>
void each_line(std::string_view text, Use use) {
  while (!text.empty()) {
    const auto end = text.find('\n');
    const std::string_view line = text.substr(0, end);
    const auto blank = line.find(' ');
    if (blank != std::string_view::npos) {
      use(line.substr(0, blank), line.substr(blank + 1));
    }
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
  }
}

template <typename T>
std::optional<T> whole(std::string_view text) {
  T n{};
  const auto [end, failed] = std::from_chars(text.data(), text.data() + text.size(), n);
  return failed == std::errc() && end == text.data() + text.size() ? std::optional(n) : std::nullopt;
}

// "cpu12" of "cpu12.state".
std::optional<std::uint32_t> cpu_of(std::string_view word) { return word.starts_with("cpu") ? whole<std::uint32_t>(word.substr(3)) : std::nullopt; }

ServerState state_of_text(std::string_view text) {
  constexpr std::array all = {ServerState::inactive, ServerState::ready, ServerState::running, ServerState::throttled};
  const auto* const found = std::find_if(all.begin(), all.end(), [&](ServerState state) { return text == text_of(state); });
  return found == all.end() ? ServerState::unknown : *found;
}

void set_server(VmSample& vm, std::uint32_t cpu, std::string_view key, std::string_view value) {
  if (vm.servers.empty() || vm.servers.back().cpu != cpu) {
    vm.servers.push_back({});
    vm.servers.back().cpu = cpu;
  }
  ServerSample& server = vm.servers.back();
  if (key == "state") {
    server.state = state_of_text(value);
  } else if (key == "q_ns") {
    server.q_ns = whole<std::int64_t>(value).value_or(0);
  } else if (key == "d_ns") {
    server.d_ns = whole<std::uint64_t>(value).value_or(0);
  } else if (key == "used_ns") {
    server.used_ns = whole<std::uint64_t>(value).value_or(0);
  } else if (key == "claimed") {
    server.claimed = value == "1";
  }
}

// The counter of that name, if it is one. All files have the same lines, so what was in this one before is remembered.
std::optional<Counter> counter_in(std::size_t line, std::string_view name) {
  thread_local std::array<std::pair<std::string, std::optional<Counter>>, 2 * counters> lines;
  if (line >= lines.size()) {
    return counter_of(name);
  }
  auto& [had, counter] = lines[line];
  if (had != name) {
    had = name;
    counter = counter_of(name);
  }
  return counter;
}

}  // namespace

void parse_spare_stat(std::string_view text, VmSample& vm) {
  vm.servers.clear();
  std::size_t line = 0;
  each_line(text, [&](std::string_view key, std::string_view value) {
    if (const auto dot = key.find('.'); dot != std::string_view::npos) {
      if (const auto cpu = cpu_of(key.substr(0, dot))) {
        set_server(vm, *cpu, key.substr(dot + 1), value);
      }
      return;
    }
    const auto counter = counter_in(line++, key);
    if (const auto number = counter ? whole<std::uint64_t>(value) : std::nullopt) {
      vm.values.set(*counter, *number);
    }
  });
}

void parse_cpu_stat(std::string_view text, VmSample& vm) {
  constexpr std::uint64_t ns_per_us = 1000;
  each_line(text, [&](std::string_view key, std::string_view value) {
    const auto number = whole<std::uint64_t>(value);
    if (!number) {
      return;
    }
    if (key == "usage_usec") {
      vm.values.set(Counter::used_ns, *number * ns_per_us);
    } else if (key == "throttled_usec") {
      vm.values.set(Counter::throttled_ns, *number * ns_per_us);
    } else if (key == "nr_throttled") {
      vm.values.set(Counter::throttled, *number);
    } else if (key == "nr_periods") {
      vm.values.set(Counter::periods, *number);
    }
  });
}

void parse_cpu_max(std::string_view text, VmSample& vm) {
  vm.runtime_us = vm.period_us = 0;
  vm.capped = false;
  each_line(text, [&](std::string_view quota, std::string_view period) {
    const auto runtime = whole<std::uint64_t>(quota), each = whole<std::uint64_t>(period);
    if (runtime && each && *each != 0) {
      vm.runtime_us = *runtime;
      vm.period_us = *each;
      vm.capped = true;
    }
  });
}

std::vector<CpuSample> parse_proc_stat(std::string_view text) {
  constexpr std::uint64_t ns_per_tick = 10000000;  // USER_HZ is 100 in every ABI of the kernel's
  std::vector<CpuSample> cpus;
  each_line(text, [&](std::string_view key, std::string_view rest) {
    const auto number = cpu_of(key);
    if (!number) {
      return;
    }
    // user nice system idle iowait irq softirq steal guest guest_nice; the last two are in the first two, too
    std::array<std::uint64_t, 10> ticks{};
    for (std::uint64_t& n : ticks) {
      const auto end = rest.find(' ');
      n = whole<std::uint64_t>(rest.substr(0, end)).value_or(0) * ns_per_tick;
      rest.remove_prefix(end == std::string_view::npos ? rest.size() : end + 1);
    }
    CpuSample cpu;
    cpu.cpu = *number;
    const std::uint64_t guest = ticks[8] + ticks[9], all = ticks[0] + ticks[1] + ticks[2];
    cpu.values.set(CpuCounter::stat_busy, all - std::min(all, guest));
    cpu.values.set(CpuCounter::stat_idle, ticks[3] + ticks[4]);
    cpu.values.set(CpuCounter::stat_irq, ticks[5]);
    cpu.values.set(CpuCounter::stat_softirq, ticks[6]);
    cpu.values.set(CpuCounter::stat_steal, ticks[7]);
    cpu.values.set(CpuCounter::stat_guest, guest);
    cpus.push_back(cpu);
  });
  std::sort(cpus.begin(), cpus.end(), [](const CpuSample& a, const CpuSample& b) { return a.cpu < b.cpu; });
  return cpus;
}

void parse_spare_host(std::string_view text, std::vector<CpuSample>& cpus) {
  each_line(text, [&](std::string_view key, std::string_view value) {
    const auto dot = key.find('.');
    const auto number = cpu_of(key.substr(0, dot));
    const auto ppm = whole<std::uint64_t>(value);
    if (dot == std::string_view::npos || key.substr(dot + 1) != "deadline_ppm" || !number || !ppm) {
      return;
    }
    for (CpuSample& cpu : cpus) {
      if (cpu.cpu == *number) {
        cpu.values.set(CpuCounter::deadline_ppm, *ppm);
      }
    }
  });
}

std::optional<Schedstat> parse_schedstat(std::string_view text) {
  Schedstat stat;
  const char* at = text.data();
  const char* const end = at + text.size();
  for (std::uint64_t* const n : {&stat.run_ns, &stat.wait_ns, &stat.runs}) {
    while (at != end && *at == ' ') {
      at++;
    }
    const auto [next, failed] = std::from_chars(at, end, *n);
    if (failed != std::errc()) {
      return std::nullopt;
    }
    at = next;
  }
  return stat;
}

}  // namespace sparectl::top
