// SPDX-License-Identifier: GPL-2.0-only
//
// What sparectl plan found out, as a table and as JSON.
#include "plan_print.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>

#include "sched_spare/abi.h"

namespace sparectl {
namespace {

using json = nlohmann::ordered_json;

// The least number whose value, where it is known, reaches the target.
std::optional<Answer> least(const std::vector<Answer>& answers, double Answer::* value, double target) {
  for (const Answer& one : answers) {
    if (one.*value >= 0 && one.*value <= target) {
      return one;
    }
  }
  return std::nullopt;
}

std::string percent(double share) {
  return share < 0 ? "-" : fmt::format("{:.3g} %", 100 * share);
}

std::string verdict(const std::optional<Answer>& one, bool simulated, const PlanOptions& options) {
  if (!one) {
    return simulated ? "none of those simulated is enough"
                     : fmt::format("more than {} (a VM can use no more)", static_cast<int>(SPARE_USE_MAX));
  }
  return fmt::format("{} spare{}{}", one->spares, one->spares == 1 ? "" : "s",
                     one->admitted ? ""
                                   : fmt::format(", which this CPU does not have room for ({:.1f} % of {:.1f} %)",
                                                 static_cast<double>(one->used_ppm) / 1e4, options.limit_ppm / 1e4));
}

void print_text(const Plan& plan, const Question& question, const PlanOptions& options) {
  fmt::print("{} VMs {} on one CPU, spares {}, grant {}\n", question.vms, spare::format_reservation(question.vm),
             spare::format_reservation(question.spare), spare::format_us(static_cast<std::uint64_t>(question.grant_us)));
  fmt::print("a claim holds a spare for about {:.3g} ms; offered load {:.4g} erlang; target {}\n\n", plan.hold_us / 1e3,
             plan.load, percent(question.target));
  fmt::print("{:>6}  {:>8}  {:>9}  {:>9}  {:>10}  {:>10}  {:>10}  {:>9}  {:>9}\n", "SPARES", "OF CPU", "ERLANG-B", "FINITE",
             "SIM LOST", "SIM BLOCK", "SIM DENIED", "P50 ms", "P99 ms");
  for (const Answer& one : plan.answers) {
    const bool simulated = one.claims != 0;
    fmt::print("{:>6}  {:>7.1f}{}  {:>9}  {:>9}  {:>10}  {:>10}  {:>10}  {:>9}  {:>9}\n", one.spares,
               static_cast<double>(one.used_ppm) / 1e4, one.admitted ? "%" : "!", percent(one.erlang_b), percent(one.engset),
               percent(one.lost), percent(one.blocked), percent(one.denied),
               simulated ? fmt::format("{:.2f}", one.p50_us / 1e3) : "-",
               simulated ? fmt::format("{:.2f}", one.p99_us / 1e3) : "-");
  }
  fmt::print("\nby the loss model (Erlang-B):        {}\n",
             verdict(least(plan.answers, &Answer::erlang_b, question.target), false, options));
  if (options.seconds <= 0) {
    return;
  }
  fmt::print("by simulation, nobody waits:         {}\n",
             verdict(least(plan.answers, &Answer::lost, question.target), true, options));
  fmt::print("by simulation, in order of arrival:  {}\n",
             verdict(least(plan.answers, &Answer::denied, question.target), true, options));
  std::uint64_t claims = ~std::uint64_t{0};
  for (const Answer& one : plan.answers) {
    claims = one.claims ? std::min(claims, one.claims) : claims;
  }
  if (static_cast<double>(claims) * question.target < 10 || claims == ~std::uint64_t{0}) {
    fmt::print("(too few claims were simulated for this target: take a longer time with --seconds)\n");
  }
}

void print_json(const Plan& plan, const Question& question, const PlanOptions& options) {
  json list = json::array();
  const auto known = [](double value) { return value < 0 ? json() : json(value); };
  for (const Answer& one : plan.answers) {
    list.push_back({{"spares", one.spares},
                    {"used_ppm", one.used_ppm},
                    {"admitted", one.admitted},
                    {"erlang_b", one.erlang_b},
                    {"engset", one.engset},
                    {"sim_lost", known(one.lost)},
                    {"sim_blocked", known(one.blocked)},
                    {"sim_denied", known(one.denied)},
                    {"sim_claims", one.claims},
                    {"p50_us", one.p50_us},
                    {"p99_us", one.p99_us},
                    {"max_us", one.max_us}});
  }
  const auto spares = [&](double Answer::* value) {
    const auto one = least(plan.answers, value, question.target);
    return one ? json(one->spares) : json();
  };
  const json all = {{"vms", question.vms},
                    {"vm_us", {question.vm.runtime_us, question.vm.period_us}},
                    {"spare_us", {question.spare.runtime_us, question.spare.period_us}},
                    {"grant_us", question.grant_us},
                    {"target", question.target},
                    {"limit_ppm", options.limit_ppm},
                    {"hold_us", plan.hold_us},
                    {"load_erlang", plan.load},
                    {"spares_erlang_b", spares(&Answer::erlang_b)},
                    {"spares_sim_lost", spares(&Answer::lost)},
                    {"spares_sim_denied", spares(&Answer::denied)},
                    {"answers", std::move(list)}};
  fmt::print("{}\n", all.dump(2));
}

}  // namespace

void print(const Plan& plan, const Question& question, const PlanOptions& options) {
  options.json ? print_json(plan, question, options) : print_text(plan, question, options);
}

}  // namespace sparectl
