// SPDX-License-Identifier: GPL-2.0-only
#include "generate.hpp"

#include <fmt/format.h>

#include <cstdlib>

#include "sim/random.hpp"

namespace generate {
namespace {

using spare::sim::Random;
using spare::sim::System;
using spare::sim::Vm;

// (Q, P) with a utilization of about `share`, on scales from 1 ms to 200 ms. Microseconds.
spare::Reservation reservation(Random& random, double share) {
  const std::uint64_t period = random.in(1, 20) * (random.in(0, 1) != 0 ? 10000 : 1000);
  const auto runtime = static_cast<std::uint64_t>(static_cast<double>(period) * share);
  return {std::max<std::uint64_t>(runtime, 50), period};
}

void traffic(Random& random, spare::sim::Traffic& traffic) {
  if (random.in(0, 3) != 0) {
    traffic.poisson_hz = static_cast<double>(random.in(1, 200));
    traffic.burst = static_cast<unsigned>(random.in(0, 3) != 0 ? 1 : random.in(2, 20));
  }
  if (random.in(0, 3) == 0) {
    traffic.on_s = 0.01;
    traffic.off_s = 0.1;
    traffic.on_hz = static_cast<double>(random.in(100, 2000));
  }
  if (random.in(0, 3) == 0) {
    traffic.broadcast_ns = random.in(10, 100) * spare::sim::ms;
  }
}

Vm vm(Random& random, const Limits& limits, double share, bool pool) {
  Vm vm;
  vm.reservation = reservation(random, share);
  vm.pool = pool ? 0 : -1;
  vm.burns = limits.burning || random.in(0, 3) != 0;
  vm.net_ns = random.in(0, 60) * spare::sim::us;
  vm.vcpu_ns = random.in(0, 2) != 0 ? 0 : random.in(0, 500) * spare::sim::us;
  vm.start_ns = random.in(0, 100) * spare::sim::ms;
  vm.policy.grant_ns = random.in(1, 50) * 100 * spare::sim::us;
  vm.policy.hasten = limits.hasten && random.in(0, 1) != 0;
  if (limits.policies) {
    vm.policy.chances = static_cast<std::uint32_t>(random.in(0, 3));
    vm.policy.gain_ns = random.in(0, 1) * random.in(1, 100) * spare::sim::ms;
    vm.policy.payback = random.in(0, 1) != 0;
    vm.policy.wait = random.in(0, 1) != 0;
  }
  traffic(random, vm.traffic);
  const auto first = static_cast<unsigned>(random.in(0, limits.cpus - 1));
  const auto cpus = static_cast<unsigned>(random.in(1, limits.cpus));
  for (unsigned i = 0; i < cpus; i++) {
    vm.cpus.push_back((first + i) % limits.cpus);
  }
  return vm;
}

bool fails(const System& system, const std::function<std::string(const System&)>& holds, std::string& why) {
  if (auto said = holds(system); !said.empty()) {
    why = std::move(said);
    return true;
  }
  return false;
}

System shrink(System system, const std::function<std::string(const System&)>& holds, std::string& why) {
  for (std::size_t i = 0; i < system.vms.size();) {
    System smaller = system;
    smaller.vms.erase(smaller.vms.begin() + static_cast<std::ptrdiff_t>(i));
    if (!smaller.vms.empty() && fails(smaller, holds, why)) {
      system = std::move(smaller);
    } else {
      i++;
    }
  }
  for (;;) {
    System shorter = system;
    shorter.length_ns /= 2;
    if (shorter.length_ns < spare::sim::ms || !fails(shorter, holds, why)) {
      return system;
    }
    system = std::move(shorter);
  }
}

std::string describe(const System& system) {
  std::string text =
      fmt::format("  {} CPUs, {} ms, switch {} ns\n", system.cpus, system.length_ns / spare::sim::ms, system.host.switch_ns);
  for (const auto& pool : system.pools) {
    text += fmt::format("  pool {} x {}/{} us\n", pool.size, pool.reservation.runtime_us, pool.reservation.period_us);
  }
  for (const Vm& vm : system.vms) {
    text += fmt::format(
        "  VM {}/{} us on {} CPUs from {}, pool {}, {}, net {} vcpu {} grant {} ns, chances {} gain {} payback {} wait {} hasten "
        "{}, "
        "poisson {} x {}, on {} Hz, broadcast {} ms, start {} us\n",
        vm.reservation.runtime_us, vm.reservation.period_us, vm.cpus.size(), vm.cpus.front(), vm.pool,
        vm.burns ? "burns" : "sleeps", vm.net_ns, vm.vcpu_ns, vm.policy.grant_ns, vm.policy.chances, vm.policy.gain_ns,
        vm.policy.payback, vm.policy.wait, vm.policy.hasten, vm.traffic.poisson_hz, vm.traffic.burst, vm.traffic.on_hz,
        vm.traffic.broadcast_ns / spare::sim::ms, vm.start_ns / 1000);
  }
  return text;
}

}  // namespace

System system(std::uint64_t seed, const Limits& limits) {
  Random random(seed, 0);
  System system;
  system.cpus = limits.cpus;
  system.seed = seed;
  system.length_ns = limits.length;
  system.host.switch_ns = limits.overhead ? random.in(1, 10) * spare::sim::us : 0;
  double left = limits.overhead ? 0.8 : 1;
  if (limits.providers) {
    spare::sim::Pool pool;
    pool.size = static_cast<unsigned>(random.in(1, 3));
    pool.reservation = reservation(random, static_cast<double>(random.in(2, 12)) / 100);
    left -= pool.size * pool.reservation.utilisation();
    system.pools.push_back(pool);
  }
  const auto vms = static_cast<unsigned>(random.in(1, limits.vms));
  for (unsigned i = 0; i < vms; i++) {
    /* Every VM counts on every CPU: an admitted system is full at most. */
    const double share = i + 1 == vms ? left : left * static_cast<double>(random.in(5, 80)) / 100;
    if (share < 0.02) {
      break;
    }
    system.vms.push_back(vm(random, limits, share * 0.999, limits.providers && random.in(0, 4) != 0));
    left -= system.vms.back().reservation.utilisation();
  }
  return system;
}

std::string check(unsigned cases, const Limits& limits, const std::function<std::string(const System&)>& holds) {
  const char* only = std::getenv("SPARE_SIM_SEED");
  const std::uint64_t first = only != nullptr ? std::strtoull(only, nullptr, 10) : 1;
  for (std::uint64_t seed = first; seed < first + (only != nullptr ? 1 : cases); seed++) {
    System made = system(seed, limits);
    if (made.vms.empty() || !spare::sim::check(made, SPARE_PPM)) {
      continue;
    }
    std::string why;
    if (fails(made, holds, why)) {
      made = shrink(std::move(made), holds, why);
      return fmt::format("seed {} (SPARE_SIM_SEED={}): {}\n{}", seed, seed, why, describe(made));
    }
  }
  return "";
}

}  // namespace generate
