// SPDX-License-Identifier: GPL-2.0-only
//
// What sparectl plan fit found out, as a table and as JSON.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <numeric>
#include <utility>

#include "plan_print.hpp"
#include "sched_spare/abi.h"

namespace sparectl {
namespace {

using json = nlohmann::ordered_json;
using spare::Reservation;

// Of each kind.
std::vector<unsigned> unplaced_of(const Report& report) {
  std::vector<unsigned> n(report.kinds.size(), 0);
  for (std::size_t i = 0; i < report.vms.size(); i++) {
    n[report.kind_of[i]] += report.fit.cpus[i].empty();
  }
  return n;
}

// The CPU with the most room that a VM with so many vCPUs could get as its last: what fits is what fits there.
std::pair<unsigned, std::uint32_t> most_room(const Report& report, unsigned vcpus) {
  std::vector<std::size_t> order(report.host.cpus.size());
  std::iota(order.begin(), order.end(), 0U);
  std::stable_sort(order.begin(), order.end(), [&](auto a, auto b) { return report.fit.used_ppm[a] < report.fit.used_ppm[b]; });
  const std::size_t at = order[vcpus - 1];
  return {report.host.cpus[at].id, report.host.limit_ppm > report.fit.used_ppm[at] ? report.host.limit_ppm - report.fit.used_ppm[at] : 0};
}

// What is wrong with a kind of VM of which some found no place, in words.
std::string why_not(const Report& report, const Kind& kind) {
  if (const std::size_t cpus = report.host.cpus.size(); kind.vcpus > cpus) {
    return fmt::format("{} vCPUs need as many CPUs, there {} {}", kind.vcpus, cpus == 1 ? "is" : "are", cpus);
  }
  const auto [cpu, room] = most_room(report, kind.vcpus);
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
  const auto unplaced = unplaced_of(report);
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

void print_text(const Report& report) {
  const auto unplaced = unplaced_of(report);
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

void print(const Report& report, bool as_json) { as_json ? print_json(report) : print_text(report); }

}  // namespace sparectl
