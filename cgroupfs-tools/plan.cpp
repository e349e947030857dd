// SPDX-License-Identifier: GPL-2.0-only
//
// sparectl plan: how many spares, by loss model and by simulation side by side.
#include "plan.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <memory>
#include <thread>

#include "duration.hpp"
#include "plan_print.hpp"
#include "sched_spare/abi.h"
#include "sim/arrivals.hpp"
#include "sim/erlang.hpp"
#include "sim/simulate.hpp"

namespace sparectl {
namespace {

using spare::Error;
using spare::Reservation;
using spare::Result;

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

}  // namespace

Result<void> plan(const PlanOptions& options) {
  const auto question = parse(options);
  if (!question) {
    return question.error();
  }
  const Plan made = answer(*question, options);
  print(made, *question, options);
  return {};
}

}  // namespace sparectl
