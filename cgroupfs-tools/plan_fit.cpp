// SPDX-License-Identifier: GPL-2.0-only
//
// sparectl plan fit: does this set of VMs fit this host, which CPU would be full, and what would fit?
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <fstream>
#include <nlohmann/json.hpp>
#include <numeric>

#include "duration.hpp"
#include "host_cpus.hpp"
#include "plan.hpp"
#include "sched_spare/abi.h"
#include "sim/fit.hpp"
#include "util/files.hpp"

namespace sparectl {
namespace {

using json = nlohmann::ordered_json;
using spare::Error;
using spare::Reservation;
using spare::Result;

constexpr unsigned vms_max = 1'000'000;
constexpr std::uint32_t default_limit_ppm = 900000;  // of the module

// So many VMs of a kind.
struct Kind {
  std::string text;
  Reservation reservation;
  unsigned count = 1, vcpus = 1;
};

Result<unsigned> parse_count(std::string_view text, std::string_view whole, unsigned most) {
  unsigned value = 0;
  const auto [end, failed] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (failed != std::errc() || end != text.data() + text.size() || value == 0 || value > most) {
    return Error{fmt::format("'{}': '{}' is not a number from 1 to {}", whole, text, most), EINVAL};
  }
  return value;
}

// Q/P[xN][*vcpus]
Result<Kind> parse_kind(std::string_view text) {
  Kind kind{std::string(text), {}, 1, 1};
  std::string_view rest = text;
  if (const size_t star = rest.find('*'); star != std::string_view::npos) {
    const auto vcpus = parse_count(rest.substr(star + 1), text, SPARE_CPUS_MAX);
    if (!vcpus) {
      return vcpus.error();
    }
    kind.vcpus = *vcpus;
    rest = rest.substr(0, star);
  }
  if (const size_t x = rest.find('x'); x != std::string_view::npos && rest.find("max") == std::string_view::npos) {
    const auto count = parse_count(rest.substr(x + 1), text, vms_max);
    if (!count) {
      return count.error();
    }
    kind.count = *count;
    rest = rest.substr(0, x);
  }
  const auto reservation = spare::parse_reservation(rest);
  if (!reservation) {
    return reservation.error();
  }
  if (!*reservation) {
    return Error{fmt::format("'{}' is no reservation: Q/P[xN][*vcpus], as 40ms/100msx8*2", text), EINVAL};
  }
  kind.reservation = **reservation;
  return kind;
}

Result<std::vector<Kind>> read_kinds(const FitOptions& options) {
  std::vector<Kind> kinds;
  const auto add = [&](std::string_view text, const std::string& where) -> Result<void> {
    auto kind = parse_kind(text);
    if (!kind) {
      return where.empty() ? kind.error() : kind.error().while_doing(where);
    }
    kinds.push_back(std::move(*kind));
    return {};
  };
  for (const std::string& text : options.vms) {
    if (auto added = add(text, "--vm"); !added) {
      return added.error();
    }
  }
  if (!options.file.empty()) {
    std::ifstream file(options.file);
    if (!file) {
      return spare::errno_error(options.file);
    }
    std::string line;
    for (unsigned number = 1; std::getline(file, line); number++) {
      const std::string_view text = spare::trim(std::string_view(line).substr(0, line.find('#')));
      if (text.empty()) {
        continue;
      }
      if (auto added = add(text, fmt::format("{}:{}", options.file, number)); !added) {
        return added.error();
      }
    }
  }
  const auto total =
      std::accumulate(kinds.begin(), kinds.end(), std::uint64_t{0}, [](auto sum, const Kind& kind) { return sum + kind.count; });
  if (total == 0) {
    return Error{"no VMs: --vm Q/P[xN][*vcpus] or --file FILE is needed", EINVAL};
  }
  if (total > vms_max) {
    return Error{fmt::format("{} VMs are more than {}", total, vms_max), ERANGE};
  }
  return kinds;
}

// Those of this machine, unless a number of them is given.
Result<std::vector<spare::HostCpu>> host_cpus(const spare::Roots& roots, const FitOptions& options) {
  if (options.cpus != 0) {
    return spare::sim::plain_cpus(options.cpus);
  }
  auto cpus = spare::read_host_cpus(roots);
  return cpus ? std::move(cpus) : Error{cpus.error().text + "; say --cpus N", cpus.error().code};
}

std::uint32_t limit_of(const spare::Roots& roots, const FitOptions& options) {
  if (options.limit_ppm) {
    return *options.limit_ppm;
  }
  std::ifstream file(roots.module() / "parameters/limit_ppm");
  std::uint32_t limit = 0;
  return file >> limit && limit > 0 && limit <= SPARE_PPM ? limit : default_limit_ppm;
}

struct Report {
  std::vector<Kind> kinds;
  std::vector<spare::sim::FitVm> vms;
  std::vector<std::size_t> kind_of;
  spare::sim::FitHost host;
  spare::sim::Fit fit;

  [[nodiscard]] std::vector<unsigned> unplaced() const {
    std::vector<unsigned> n(kinds.size(), 0);
    for (std::size_t i = 0; i < vms.size(); i++) {
      n[kind_of[i]] += fit.cpus[i].empty();
    }
    return n;
  }
  // The CPU with the most room that a VM with so many vCPUs could get as its last: what fits is what fits there.
  [[nodiscard]] std::pair<unsigned, std::uint32_t> room(unsigned vcpus) const {
    std::vector<std::size_t> order(host.cpus.size());
    std::iota(order.begin(), order.end(), 0U);
    std::stable_sort(order.begin(), order.end(), [&](auto a, auto b) { return fit.used_ppm[a] < fit.used_ppm[b]; });
    const std::size_t at = order[vcpus - 1];
    return {host.cpus[at].id, host.limit_ppm > fit.used_ppm[at] ? host.limit_ppm - fit.used_ppm[at] : 0};
  }
};

// What is wrong with a kind of VM of which some found no place, in words.
std::string why_not(const Report& report, const Kind& kind) {
  if (const std::size_t cpus = report.host.cpus.size(); kind.vcpus > cpus) {
    return fmt::format("{} vCPUs need as many CPUs, there {} {}", kind.vcpus, cpus == 1 ? "is" : "are", cpus);
  }
  const auto [cpu, room] = report.room(kind.vcpus);
  const std::uint64_t runtime_us = static_cast<std::uint64_t>(room) * kind.reservation.period_us / SPARE_PPM;
  const std::string place = kind.vcpus == 1
                                ? fmt::format("CPU {} has the most room", cpu)
                                : fmt::format("of the {} CPUs with the most room CPU {} is the fullest", kind.vcpus, cpu);
  const Reservation most{runtime_us, kind.reservation.period_us};
  const bool some =
      runtime_us >= SPARE_RUNTIME_MIN_US && runtime_us * SPARE_PPM >= most.period_us * std::uint64_t{SPARE_UTIL_MIN_PPM};
  return fmt::format("{}, {:.2f} % under the limit of {:.2f} %: {}", place, room / 1e4, report.host.limit_ppm / 1e4,
                     some ? fmt::format("at most {} fits", spare::format_reservation(most)) : "no reservation fits");
}

void print_json(const Report& report) {
  json kinds = json::array(), cpus = json::array();
  const auto unplaced = report.unplaced();
  for (std::size_t i = 0; i < report.kinds.size(); i++) {
    const Kind& kind = report.kinds[i];
    kinds.push_back({{"vm", kind.text},
                     {"reservation_us", {kind.reservation.runtime_us, kind.reservation.period_us}},
                     {"vcpus", kind.vcpus},
                     {"count", kind.count},
                     {"placed", kind.count - unplaced[i]},
                     {"why_not", unplaced[i] ? json(why_not(report, kind)) : json()}});
  }
  for (std::size_t at = 0; at < report.host.cpus.size(); at++) {
    cpus.push_back({{"cpu", report.host.cpus[at].id}, {"used_ppm", report.fit.used_ppm[at]}, {"servers", report.fit.servers[at]}});
  }
  const json all = {{"fits", report.fit.all()},
                    {"limit_ppm", report.host.limit_ppm},
                    {"pool_ppm", report.host.taken_ppm},
                    {"vms", std::move(kinds)},
                    {"cpus", std::move(cpus)}};
  fmt::print("{}\n", all.dump(2));
}

void print(const Report& report) {
  const auto unplaced = report.unplaced();
  fmt::print("{} VMs on {} CPUs, limit {:.2f} % of each{}: {}\n", report.vms.size(), report.host.cpus.size(), report.host.limit_ppm / 1e4,
             report.host.taken_ppm ? fmt::format(", of which the pool takes {:.2f} %", report.host.taken_ppm / 1e4) : "",
             report.fit.all() ? "they fit" : "they do not fit");
  for (std::size_t i = 0; i < report.kinds.size(); i++) {
    if (unplaced[i] != 0) {
      fmt::print("  {} of {} {} not placed: {}\n", unplaced[i], report.kinds[i].count, report.kinds[i].text,
                 why_not(report, report.kinds[i]));
    }
  }
  /* CPUs alike in one line. */
  fmt::print("{:>7}  {:>8}  {:>8}  CPUS\n", "SERVERS", "USED", "ROOM");
  std::vector<std::pair<std::uint32_t, unsigned>> shown;
  for (std::size_t at = 0; at < report.host.cpus.size(); at++) {
    const std::pair<std::uint32_t, unsigned> kind{report.fit.used_ppm[at], report.fit.servers[at]};
    if (std::find(shown.begin(), shown.end(), kind) != shown.end()) {
      continue;
    }
    shown.push_back(kind);
    spare::Cpus same;
    for (std::size_t other = at; other < report.host.cpus.size(); other++) {
      if (report.fit.used_ppm[other] == kind.first && report.fit.servers[other] == kind.second) {
        same.push_back(report.host.cpus[other].id);
      }
    }
    const std::string list =
        same.size() <= 8 ? fmt::format("{}", fmt::join(same, ",")) : fmt::format("{} of them, the first {}", same.size(), same.front());
    fmt::print("{:>7}  {:>6.2f} %  {:>6.2f} %  {}\n", kind.second, kind.first / 1e4,
               (report.host.limit_ppm - std::min(report.host.limit_ppm, kind.first)) / 1e4, list);
  }
}

}  // namespace

Result<void> plan_fit(const spare::Roots& roots, const FitOptions& options) {
  auto kinds = read_kinds(options);
  if (!kinds) {
    return kinds.error();
  }
  Report report;
  report.kinds = std::move(*kinds);
  auto cpus = host_cpus(roots, options);
  if (!cpus) {
    return cpus.error();
  }
  report.host.cpus = std::move(*cpus);
  report.host.limit_ppm = limit_of(roots, options);
  if (!options.pool.empty()) {
    const auto pool = parse_kind(options.pool);
    if (!pool || pool->vcpus != 1 || pool->count > SPARE_USE_MAX) {
      return pool ? Error{fmt::format("--pool: '{}' is not Qs/Ps[xK] with K from 1 to {}", options.pool,
                                      static_cast<int>(SPARE_USE_MAX)),
                          EINVAL}
                  : pool.error().while_doing("--pool");
    }
    report.host.taken_ppm = pool->count * spare::utilization_ppm(pool->reservation);
    if (report.host.taken_ppm > report.host.limit_ppm) {
      return Error{fmt::format("--pool: it takes {:.2f} % of each CPU, {:.2f} % are admitted", report.host.taken_ppm / 1e4,
                               report.host.limit_ppm / 1e4),
                   EBUSY};
    }
  }
  for (std::size_t i = 0; i < report.kinds.size(); i++) {
    report.vms.insert(report.vms.end(), report.kinds[i].count, {report.kinds[i].reservation, report.kinds[i].vcpus});
    report.kind_of.insert(report.kind_of.end(), report.kinds[i].count, i);
  }
  report.fit = spare::sim::fit(report.vms, report.host);
  if (options.json) {
    print_json(report);
  } else {
    print(report);
  }
  return {};
}

}  // namespace sparectl
