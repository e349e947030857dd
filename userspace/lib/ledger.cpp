// SPDX-License-Identifier: GPL-2.0-only
#include "ledger.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>

#include "flat_keyed.hpp"
#include "sched_spare/parse.h"
#include "settings.hpp"
#include "util/files.hpp"

namespace spare {
namespace {

constexpr std::uint32_t default_limit_ppm = 900'000;
constexpr size_t takers_named = 4;

}  // namespace

std::optional<unsigned> full_cpu_in(std::string_view text) {
  for (size_t at = text.find("CPU "); at != std::string_view::npos; at = text.find("CPU ", at + 1)) {
    unsigned cpu = 0;
    const char* first = text.data() + at + 4;
    const auto [end, failed] = std::from_chars(first, text.data() + text.size(), cpu);
    if (failed == std::errc() && std::string_view(end, static_cast<size_t>(text.data() + text.size() - end)).starts_with(" is full")) {
      return cpu;
    }
  }
  return std::nullopt;
}

Result<Claim> read_claim(const Cgroup& cgroup) {
  Claim claim;
  claim.path = cgroup.path();
  auto reservation = read_reservation(cgroup);
  if (!reservation) {
    return reservation.error();
  }
  claim.reservation = *reservation;
  const auto cpus = cgroup.read(file::cpus), provide = cgroup.read(file::provide), use = cgroup.read(file::use);
  if (cpus) {
    const auto list = parse_cpu_list(*cpus);
    if (!list) {
      return list.error();
    }
    claim.cpus = *list;
  }
  claim.provider = provide && *provide == "1";
  claim.use = use ? *use : "none";
  return claim;
}

bool placed_by_program(const Cgroup& cgroup) {
  const auto stat = cgroup.read(file::stat);
  return stat && FlatKeyed::parse(*stat).number("cpus_auto") == 1U;
}

Result<Ledger> Ledger::read(const Roots& roots, const CgroupTree& tree) {
  const auto paths = tree.with_reservation();
  if (!paths) {
    return paths.error();
  }
  std::vector<Claim> claims;
  for (const std::string& path : *paths) {
    const auto cgroup = tree.at(path);
    auto claim = cgroup ? read_claim(*cgroup) : Result<Claim>(cgroup.error());
    if (claim) {  // one that went away meanwhile takes nothing
      claims.push_back(std::move(*claim));
    }
  }
  return Ledger(read_limit_ppm(roots), std::move(claims), read_deadlines(tree));
}

std::uint32_t read_limit_ppm(const Roots& roots) {
  const auto text = read_file(roots.module() / "parameters/limit_ppm");
  const auto number = text ? as_integer(trim(*text)) : std::nullopt;
  return number && *number > 0 ? static_cast<std::uint32_t>(*number) : default_limit_ppm;
}

Deadlines read_deadlines(const CgroupTree& tree) {
  constexpr std::string_view prefix = "cpu", suffix = ".deadline_ppm";
  const auto text = read_file(tree.mount() / file::host);
  const FlatKeyed keyed = FlatKeyed::parse(text ? *text : "");
  Deadlines deadlines;
  for (const auto& [key, values] : keyed.entries()) {
    if (!key.starts_with(prefix) || !key.ends_with(suffix) || values.size() != 1) {
      continue;
    }
    const auto cpu = as_integer(key.substr(prefix.size(), key.size() - prefix.size() - suffix.size())), ppm = as_integer(values[0]);
    if (cpu && ppm && *cpu >= 0 && *ppm > 0) {
      deadlines[static_cast<unsigned>(*cpu)] = static_cast<std::uint32_t>(*ppm);
    }
  }
  return deadlines;
}

std::uint32_t Ledger::deadline_ppm(unsigned cpu) const {
  const auto found = deadlines_.find(cpu);
  return found == deadlines_.end() ? 0 : found->second;
}

Claim* Ledger::find(const std::string& path) {
  const auto found = std::find_if(claims_.begin(), claims_.end(), [&](const Claim& claim) { return claim.path == path; });
  return found == claims_.end() ? nullptr : &*found;
}

void Ledger::put(Claim claim) {
  erase(claim.path);
  claims_.push_back(std::move(claim));
}

void Ledger::erase(const std::string& path) {
  std::erase_if(claims_, [&](const Claim& claim) { return claim.path == path; });
}

std::uint32_t Ledger::taken_ppm(unsigned cpu, const std::string& except) const {
  std::uint32_t sum = deadline_ppm(cpu);
  for (const Claim& claim : claims_) {
    if (claim.reservation && claim.path != except && contains(claim.cpus, cpu)) {
      sum += utilization_ppm(*claim.reservation);
    }
  }
  return sum;
}

std::uint32_t Ledger::room_ppm(unsigned cpu, const std::string& except) const {
  const std::uint32_t taken = taken_ppm(cpu, except);
  return taken < limit_ppm_ ? limit_ppm_ - taken : 0;
}

Cpus Ledger::full_for(const std::string& path, const Reservation& asked, const Cpus& cpus) const {
  Cpus full;
  for (const unsigned cpu : cpus) {
    if (room_ppm(cpu, path) < utilization_ppm(asked)) {
      full.push_back(cpu);
    }
  }
  return full;
}

// "/vm/a 40 %", the largest first; many: the last is "N more".
std::vector<std::string> Ledger::takers_of(unsigned cpu, const std::string& except) const {
  std::vector<const Claim*> claims;
  for (const Claim& claim : claims_) {
    if (claim.reservation && claim.path != except && contains(claim.cpus, cpu)) {
      claims.push_back(&claim);
    }
  }
  std::stable_sort(claims.begin(), claims.end(), [](const Claim* a, const Claim* b) {
    return utilization_ppm(*a->reservation) > utilization_ppm(*b->reservation);
  });
  std::vector<std::string> takers;
  for (const Claim* claim : claims) {
    takers.push_back(claim->path + " " + format_ppm(utilization_ppm(*claim->reservation)));
  }
  if (takers.size() > takers_named) {
    takers[takers_named - 1] = fmt::format("{} more", takers.size() - takers_named + 1);
    takers.resize(takers_named);
  }
  if (const std::uint32_t ppm = deadline_ppm(cpu); ppm != 0) {
    takers.insert(takers.begin(), "SCHED_DEADLINE threads " + format_ppm(ppm));
  }
  return takers;
}

std::string Ledger::refusal(const std::string& path, const Reservation& asked, const Cpus& cpus, const Cpus& online) const {
  const Cpus full = full_for(path, asked, cpus);
  if (full.empty()) {
    return {};
  }
  const unsigned cpu = *std::min_element(full.begin(), full.end(), [&](unsigned a, unsigned b) {
    return room_ppm(a, path) < room_ppm(b, path);
  });
  const std::uint32_t room = room_ppm(cpu, path);
  const std::uint64_t runtime_us = static_cast<std::uint64_t>(room) * asked.period_us / SPARE_PPM;
  const bool fits = room >= SPARE_UTIL_MIN_PPM && runtime_us >= SPARE_RUNTIME_MIN_US;
  const auto takers = takers_of(cpu, path);
  std::string text = fmt::format("CPU {} is full: {} asked, {} fits beside {} (limit {})", cpu, format_reservation(asked),
                                 fits ? "at most " + format_reservation(Reservation{runtime_us, asked.period_us}) : "nothing",
                                 takers.empty() ? "nobody" : fmt::format("{}", fmt::join(takers, ", ")), format_ppm(limit_ppm_));
  const Cpus roomy = difference(online, full_for(path, asked, online));
  text += roomy.empty() ? "; no CPU has room for it" : "; room for it: CPUs " + format_cpu_list(roomy);
  return text;
}

}  // namespace spare
