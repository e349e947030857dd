// SPDX-License-Identifier: GPL-2.0-only
//
// sparectl plan: how many spares, by loss model and by simulation side by side.
#include "plan.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <memory>
#include <nlohmann/json.hpp>
#include <thread>

#include "duration.hpp"
#include "sched_spare/abi.h"
#include "sim/arrivals.hpp"
#include "sim/erlang.hpp"
#include "sim/simulate.hpp"

namespace sparectl {
namespace {

using json = nlohmann::ordered_json;
using spare::Error;
using spare::Reservation;
using spare::Result;

// The question in numbers.
struct Question {
  unsigned vms;
  Reservation vm, spare;
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

Result<double> parse_share(const std::string& text) {
  std::string_view number = text;
  const bool percent = number.ends_with('%');
  if (percent) {
    number.remove_suffix(1);
  }
  double value = 0;
  const auto [end, failed] = std::from_chars(number.data(), number.data() + number.size(), value);
  value /= percent ? 100 : 1;
  if (failed != std::errc() || end != number.data() + number.size() || !(value > 0 && value < 1)) {
    return Error{fmt::format("--target: '{}' is not a share between 0 and 1, as 0.001 or 0.1%", text), EINVAL};
  }
  return value;
}

Result<Reservation> parse_finite(const char* option, const std::string& text) {
  const auto parsed = spare::parse_reservation(text);
  if (!parsed) {
    return parsed.error().while_doing(option);
  }
  if (!*parsed) {
    return Error{fmt::format("{}: '{}' is no reservation: it is runtime/period, as 40ms/100ms", option, text), EINVAL};
  }
  return **parsed;
}

Result<Question> parse(const PlanOptions& options) {
  if (options.vms == 0 || options.vm.empty() || options.spare.empty()) {
    return Error{"--vms, --vm and --spare are needed: sparectl plan --vms 8 --vm 5ms/100ms --spare 1ms/10ms --rate 10", EINVAL};
  }
  if (options.rate_hz <= 0 && options.broadcast_hz <= 0 && options.packets.empty()) {
    return Error{"which packets? --rate, --broadcast or --packets is needed", EINVAL};
  }
  const auto vm = parse_finite("--vm", options.vm);
  const auto spare = parse_finite("--spare", options.spare);
  const auto target = parse_share(options.target);
  const auto grant = spare::parse_duration_us(options.grant);
  const auto packet = spare::parse_duration_us(options.packet);
  if (!vm || !spare) {
    return vm ? spare.error() : vm.error();
  }
  if (!target) {
    return target.error();
  }
  if (!grant || *grant == 0) {
    return grant ? Error{"--grant: it must be more than 0", ERANGE} : grant.error().while_doing("--grant");
  }
  if (!packet) {
    return packet.error().while_doing("--packet");
  }
  Question question{options.vms, *vm, *spare, *target, static_cast<double>(*grant), static_cast<double>(*packet), nullptr};
  if (!options.packets.empty()) {
    auto recorded = spare::sim::read_recorded(options.packets, options.vms);
    if (!recorded) {
      return recorded.error();
    }
    question.recorded = std::make_shared<std::vector<std::vector<spare::sim::Time>>>(std::move(*recorded));
  }
  return question;
}

// The VMs on one CPU, as often as there are replicas: CPUs that know nothing of each other and draw their packets anew.
spare::sim::System system_of(const Question& question, const PlanOptions& options, unsigned spares, bool wait) {
  using namespace spare::sim;
  System system;
  system.cpus = question.recorded ? 1 : std::max(1U, std::min(64U, static_cast<unsigned>(options.seconds / 10)));
  system.seed = options.seed;
  const Time period_ns = question.vm.period_us * us;
  system.warmup_ns = question.recorded ? 0 : 2 * period_ns;
  system.length_ns = static_cast<Time>(std::max(options.seconds / system.cpus * 1e9, 1e6));
  system.pools.push_back({question.spare, spares});
  for (unsigned i = 0; i < question.vms * system.cpus; i++) {
    Vm vm;
    vm.reservation = question.vm;
    vm.cpus = {i / question.vms};
    vm.pool = 0;
    vm.net_ns = static_cast<Time>(question.packet_us * 1000);
    vm.policy.grant_ns = static_cast<Time>(question.grant_us * 1000);
    vm.policy.wait = wait;
    /* Periods that begin at moments of their own, spread evenly. */
    vm.start_ns = period_ns * (i % question.vms) / question.vms + (i * 7919) % 1000 * us % period_ns;
    vm.traffic.poisson_hz = options.rate_hz;
    vm.traffic.burst = options.burst;
    vm.traffic.broadcast_ns = options.broadcast_hz > 0 ? static_cast<Time>(1e9 / options.broadcast_hz) : 0;
    if (question.recorded) {
      vm.traffic.recorded = std::shared_ptr<const std::vector<Time>>(question.recorded, &(*question.recorded)[i]);
    }
    system.vms.push_back(std::move(vm));
  }
  if (question.recorded) {
    for (const auto& times : *question.recorded) {
      system.length_ns = std::max(system.length_ns, times.empty() ? 0 : times.back() + 2 * period_ns);
    }
  }
  return system;
}

void simulate(const Question& question, const PlanOptions& options, Answer& answer) {
  const unsigned threads = std::max(1U, std::thread::hardware_concurrency());
  for (const bool wait : {false, true}) {
    const auto result = spare::sim::simulate(system_of(question, options, answer.spares, wait), {threads, nullptr});
    spare::sim::Use use;
    spare::sim::Histogram latency;
    for (const auto& vm : result.vms) {
      use.add(vm.use);
      latency.add(vm.latency);
    }
    const auto share = [&](std::uint64_t n) { return use.asked ? static_cast<double>(n) / static_cast<double>(use.asked) : 0; };
    if (!wait) {
      answer.lost = share(use.blocked);
      continue;
    }
    answer.blocked = share(use.blocked);
    answer.denied = share(use.denied);
    answer.claims = use.asked;
    answer.p50_us = static_cast<double>(latency.percentile(0.5)) / 1e3;
    answer.p99_us = static_cast<double>(latency.percentile(0.99)) / 1e3;
    answer.max_us = static_cast<double>(latency.max_ns()) / 1e3;
  }
}

struct Plan {
  double hold_us, load;
  std::vector<Answer> answers;
};

Plan answer(const Question& question, const PlanOptions& options) {
  double rate = options.rate_hz + options.broadcast_hz;
  if (question.recorded) {
    std::size_t n = 0;
    spare::sim::Time last = 1;
    for (const auto& times : *question.recorded) {
      n += times.size();
      last = std::max(last, times.empty() ? 0 : times.back());
    }
    rate += static_cast<double>(n) / question.vms / (static_cast<double>(last) / 1e9);
  }
  Plan plan;
  plan.hold_us = spare::sim::hold_us(question.vm, question.spare, question.grant_us);
  const double alpha = spare::sim::claims_hz(question.vm, rate) * plan.hold_us / 1e6;
  plan.load = question.vms * alpha;
  const std::uint64_t vm_ppm = spare::utilization_ppm(question.vm), spare_ppm = spare::utilization_ppm(question.spare);
  for (unsigned k = 0; k <= SPARE_USE_MAX; k++) {
    Answer one;
    one.spares = k;
    one.used_ppm = question.vms * vm_ppm + k * spare_ppm;
    one.admitted = one.used_ppm <= options.limit_ppm;
    one.erlang_b = spare::sim::erlang_b(k, plan.load);
    one.engset = spare::sim::engset(k, question.vms, alpha);
    /* More than the whole CPU cannot be simulated as admitted; more than enough need not be. */
    const bool done = k > 1 && plan.answers.back().lost == 0 && plan.answers.back().denied == 0;
    if (options.seconds > 0 && k > 0 && one.used_ppm <= SPARE_PPM && !done && question.vms + k <= SPARE_SLOTS) {
      simulate(question, options, one);
    }
    plan.answers.push_back(one);
  }
  return plan;
}

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

void print(const Plan& plan, const Question& question, const PlanOptions& options) {
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

Result<void> plan(const PlanOptions& options) {
  const auto question = parse(options);
  if (!question) {
    return question.error();
  }
  const Plan made = answer(*question, options);
  if (options.json) {
    print_json(made, *question, options);
  } else {
    print(made, *question, options);
  }
  return {};
}

}  // namespace sparectl
