// SPDX-License-Identifier: GPL-2.0-only
//
// What every reservation gets and never exceeds, on random systems, checked on the recorded runs alone.
#include <fmt/format.h>

#include <catch2/catch_test_macros.hpp>

#include "generate.hpp"
#include "sim/erlang.hpp"

using generate::Limits;
using generate::Recorder;
using generate::Run;
using spare::sim::Result;
using spare::sim::System;
using spare::sim::Time;

namespace {

constexpr unsigned systems = 100;

// No deadline missed.
std::string no_miss(const System& system) {
  const Result result = spare::sim::simulate(system);
  for (std::size_t i = 0; i < result.vms.size(); i++) {
    if (result.vms[i].use.misses != 0) {
      return fmt::format("VM {} missed {} deadlines", i, result.vms[i].use.misses);
    }
  }
  for (const auto& pool : result.pools) {
    if (pool.misses != 0) {
      return fmt::format("a provider missed {} deadlines", pool.misses);
    }
  }
  return "";
}

// Runs under one deadline d are one job of demand c, released at d - P (cbs.h sets d to nothing else).
struct Job {
  Time release, deadline, demand;
};

std::vector<Job> jobs_of(const std::vector<Run>& runs, Time period) {
  std::vector<Job> jobs;
  for (const Run& run : runs) {
    if (jobs.empty() || jobs.back().deadline != run.deadline) {
      jobs.push_back({run.deadline - period, run.deadline, 0});
    }
    jobs.back().demand += run.to - run.from;
  }
  return jobs;
}

// The theorem of constant bandwidth servers (Abeni and Buttazzo, 1998, theorem 1): the jobs with release and deadline in an
// interval of length L demand at most U L. `over`: what one job may overrun, which the next one pays.
std::string bandwidth(const System& system, Time over) {
  Recorder recorder;
  spare::sim::simulate(system, {1, &recorder});
  for (const auto& [key, runs] : recorder.by_payer) {
    const auto [q, p] = recorder.servers[key];
    const std::vector<Job> jobs = jobs_of(runs, p);
    for (std::size_t i = 0; i < jobs.size(); i++) {
      Time demand = 0;
      if (jobs[i].demand > q + over) {
        return fmt::format("slot {}: {} ns in the period until {} ns, Q is {} ns", key.second, jobs[i].demand, jobs[i].deadline, q);
      }
      for (std::size_t j = i; j < jobs.size() && j < i + 200; j++) {
        demand += jobs[j].demand;
        const Time length = jobs[j].deadline - jobs[i].release;
        if (static_cast<double>(demand - std::min(demand, over)) * static_cast<double>(p) >
            static_cast<double>(length) * static_cast<double>(q) + static_cast<double>(p)) {
          return fmt::format("slot {}: {} ns demanded in {} ns from {} ns, Q/P is {}/{} ns", key.second, demand, length,
                             jobs[i].release, q, p);
        }
      }
    }
  }
  return "";
}

// A server that always has work gets at least sbf(t) in every window of length t. The windows that get least begin where a run
// ends and end where one begins.
std::string supply(const System& system) {
  Recorder recorder;
  spare::sim::simulate(system, {1, &recorder});
  for (const auto& [key, runs] : recorder.by_payer) {
    const auto [q, p] = recorder.servers[key];
    if (key.second < system.pools.size() * (system.pools.empty() ? 0 : system.pools[0].size)) {
      continue;  // a provider has no work of its own
    }
    std::vector<Time> begun(1, 0);  // supply before run i
    for (const Run& run : runs) {
      begun.push_back(begun.back() + (run.to - run.from));
    }
    for (std::size_t i = 0; i < runs.size(); i++) {
      for (std::size_t j = i + 1; j < runs.size() && j < i + 300; j++) {
        const Time length = runs[j].from - runs[i].to, got = begun[j] - begun[i + 1];
        if (got < spare::sim::supply_bound(q, p, length)) {
          return fmt::format("slot {}: {} ns in {} ns from {} ns, sbf is {} ns (Q/P {}/{})", key.second, got, length, runs[i].to,
                             spare::sim::supply_bound(q, p, length), q, p);
        }
      }
    }
  }
  return "";
}

// Use between two replenishments, and in the long run.
std::string within_budget(const System& system, Time over) {
  const Result result = spare::sim::simulate(system);
  for (std::size_t i = 0; i < result.vms.size(); i++) {
    const auto& vm = system.vms[i];
    const auto& use = result.vms[i].use;
    const Time q = vm.reservation.runtime_us * 1000;
    if (use.use_max_ns > q + over) {
      return fmt::format("VM {} used {} ns in a period, Q is {} ns", i, use.use_max_ns, q);
    }
    const Time most = ((system.length_ns / (vm.reservation.period_us * 1000) + 2) * q + over) * vm.cpus.size();
    if (use.used_ns > most) {
      return fmt::format("VM {} used {} ns, {} at most are its", i, use.used_ns, most);
    }
  }
  const auto& pool = system.pools;
  for (std::size_t i = 0; i < pool.size(); i++) {
    if (result.pools[i].use_max_ns > pool[i].reservation.runtime_us * 1000 + over) {
      return fmt::format("a provider used {} ns in a period, Qs is {} us", result.pools[i].use_max_ns,
                         pool[i].reservation.runtime_us);
    }
  }
  return "";
}

}  // namespace

TEST_CASE("CBS-5, CBS-6: no deadline is missed in an admitted system, spare bandwidth in use or not") {
  CHECK(generate::check(systems, {.policies = true}, no_miss) == "");
  CHECK(generate::check(systems, {.cpus = 3, .policies = true}, no_miss) == "");
}

TEST_CASE("SPARE-7: no deadline is missed when far deadlines are brought forward") {
  CHECK(generate::check(systems, {.policies = true, .hasten = true}, no_miss) == "");
}

TEST_CASE("CBS-4, SPARE-1: no reservation and no provider demands more than its bandwidth in any interval") {
  CHECK(generate::check(systems, {.policies = true, .hasten = true}, [](const System& s) { return bandwidth(s, 0); }) == "");
  /* A switch overruns, at most once per job; it is carried. */
  CHECK(generate::check(systems, {.overhead = true, .policies = true},
                        [](const System& s) { return bandwidth(s, 2 * s.host.switch_ns); }) == "");
}

TEST_CASE("CBS-4: use in a period is at most Q, and what was overrun is carried; SPARE-1: so for providers") {
  CHECK(generate::check(systems, {.policies = true}, [](const System& s) { return within_budget(s, 0); }) == "");
  CHECK(generate::check(systems, {.overhead = true, .policies = true},
                        [](const System& s) { return within_budget(s, 2 * s.host.switch_ns); }) == "");
}

TEST_CASE("CBS-2, CBS-4: a VM that always has work gets its supply bound function in every window") {
  CHECK(generate::check(systems, {.burning = true}, supply) == "");
  CHECK(generate::check(systems, {.hasten = true, .burning = true}, supply) == "");
}
