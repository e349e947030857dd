// SPDX-License-Identifier: GPL-2.0-only
//
// What sparectl plan and plan fit have found out, and its printing.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "duration.hpp"
#include "plan.hpp"
#include "sim/fit.hpp"
#include "sim/system.hpp"

namespace sparectl {

// The question in numbers.
struct Question {
  unsigned vms;
  spare::Reservation vm, spare;
  double target, grant_us, packet_us;
  std::shared_ptr<std::vector<std::vector<spare::sim::Time>>> recorded;
};

// What a number of spares gives. Shares of claims; negative: not known.
struct Answer {
  unsigned spares = 0;
  std::uint64_t used_ppm = 0;
  bool admitted = false;
  double erlang_b = 0, engset = 0;
  double lost = -1;                  // simulated, nobody waits: blocked
  double blocked = -1, denied = -1;  // simulated, in the order of arrival
  std::uint64_t claims = 0;          // simulated in the latter
  double p50_us = 0, p99_us = 0, max_us = 0;
};

struct Plan {
  double hold_us, load;
  std::vector<Answer> answers;
};

void print(const Plan& plan, const Question& question, const PlanOptions& options);

// So many VMs of a kind.
struct Kind {
  std::string text;
  spare::Reservation reservation;
  unsigned count = 1, vcpus = 1;
};

struct Report {
  std::vector<Kind> kinds;
  std::vector<spare::sim::FitVm> vms;
  std::vector<std::size_t> kind_of;
  spare::sim::FitHost host;
  spare::sim::Fit fit;
};

void print(const Report& report, bool as_json);

}  // namespace sparectl
