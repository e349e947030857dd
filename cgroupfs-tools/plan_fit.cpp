// SPDX-License-Identifier: GPL-2.0-only
//
// sparectl plan fit: does this set of VMs fit this host, which CPU would be full, and what would fit?
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <fstream>
#include <numeric>

#include "duration.hpp"
#include "host_cpus.hpp"
#include "plan.hpp"
#include "plan_print.hpp"
#include "sched_spare/abi.h"
#include "sim/fit.hpp"
#include "util/files.hpp"

namespace sparectl {
namespace {

using spare::Error;
using spare::Reservation;
using spare::Result;

constexpr unsigned vms_max = 1'000'000;
constexpr std::uint32_t default_limit_ppm = 900000;  // of the module

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
  print(report, options.json);
  return {};
}

}  // namespace sparectl
