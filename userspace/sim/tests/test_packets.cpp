// SPDX-License-Identifier: GPL-2.0-only
//
// What every packet gets, on random systems.
#include <fmt/format.h>
#include <sched_spare/cbs.h>

#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <map>

#include "generate.hpp"
#include "sim/erlang.hpp"
#include "sim/random.hpp"

using generate::Limits;
using spare::sim::Charge;
using spare::sim::Found;
using spare::sim::Observer;
using spare::sim::Packet;
using spare::sim::Place;
using spare::sim::Result;
using spare::sim::System;
using spare::sim::ThreadState;
using spare::sim::ThreadView;
using spare::sim::Time;

namespace {

constexpr unsigned cases = 120;

// Each packet until its first service: by the provider's bound, or counted and by that of its own budget.
class Bounds : public Observer {
 public:
  explicit Bounds(const System& system) : system_(system) {}

  void came(const Place& home, const ThreadView& net, const ThreadView& vcpu, Found found, Time now) override {
    if (net.state == ThreadState::running) {
      return;
    }
    /* A vCPU stands before a network thread that waits already and has had a turn before (CBS-8). */
    const bool behind = vcpu.state == ThreadState::queued && net.state == ThreadState::queued && !spare_before(net.key, vcpu.key);
    const bool lendable = found == Found::free && home.abi.lender == SPARE_NO_SLOT && !behind;
    waits_[home.owner].push_back({now, lendable, false});
  }
  void served(unsigned vm, Time now) override {
    for (const Wait& wait : waits_[vm]) {
      judge(vm, wait, now);
    }
    waits_[vm].clear();
  }
  void blocked(const Place& server, Time) override { counted(server.owner); }
  void denied(const Place& server, Time) override { counted(server.owner); }

  // Those that still wait at the end are judged as if served then.
  std::string verdict() {
    for (const auto& [vm, waits] : waits_) {
      for (const Wait& wait : waits) {
        judge(vm, wait, system_.length_ns);
      }
    }
    return why_;
  }

 private:
  struct Wait {
    Time since;
    bool lendable;  // found a provider free
    bool counted;   // blocked or denied since
  };
  void counted(unsigned vm) {
    for (Wait& wait : waits_[vm]) {
      wait.counted = true;
    }
  }
  void judge(unsigned vm, const Wait& wait, Time now) {
    const spare::sim::Vm& spec = system_.vms[vm];
    Time bound = spare::sim::supply_delay(spec.reservation.runtime_us * 1000, spec.reservation.period_us * 1000, SPARE_TURN_NS + 1);
    if (wait.lendable && !wait.counted) {
      const auto& pool = system_.pools[0].reservation;
      bound = std::min(bound, (pool.period_us - pool.runtime_us) * 1000);
    }
    if (now - wait.since > bound && why_.empty()) {
      why_ = fmt::format("packet of VM {} at {} ns first served after {} ns, the bound is {} ns ({})", vm, wait.since,
                         now - wait.since, bound, wait.lendable ? wait.counted ? "counted" : "provider free" : "own budget");
    }
  }
  const System& system_;
  std::map<unsigned, std::vector<Wait>> waits_;
  std::string why_;
};

std::string bounds(const System& system) {
  Bounds observer(system);
  spare::sim::simulate(system, {1, &observer});
  return observer.verdict();
}

// The system with its packets in the first tenth of a time long enough for every queue to run empty.
System drained(const System& given) {
  System system = given;
  system.length_ns = 20 * spare::sim::second;
  for (std::size_t i = 0; i < system.vms.size(); i++) {
    spare::sim::Random random(system.seed, 1000 + i);
    auto times = std::make_shared<std::vector<Time>>();
    for (unsigned n = 0; n < 100; n++) {
      times->insert(times->end(), random.in(0, 4) != 0 ? 1 : 5, random.in(1, system.length_ns / 10));
    }
    std::sort(times->begin(), times->end());
    system.vms[i].traffic = {};
    system.vms[i].traffic.recorded = std::move(times);
  }
  return system;
}

std::string none_lost(const System& given) {
  const System system = drained(given);
  const Result result = spare::sim::simulate(system);
  for (std::size_t i = 0; i < result.vms.size(); i++) {
    const auto& vm = result.vms[i];
    if (vm.packets != system.vms[i].traffic.recorded->size() || vm.seen + vm.dropped != vm.packets) {
      return fmt::format("VM {}: {} packets, {} reached the vCPU, {} dropped", i, vm.packets, vm.seen, vm.dropped);
    }
  }
  return "";
}

// Each mark that asked was lent a provider, or was blocked; what was blocked was lent one later, denied, or its VM's own.
std::string counts(const System& system) {
  const Result result = spare::sim::simulate(system);
  for (std::size_t i = 0; i < result.vms.size(); i++) {
    const auto& use = result.vms[i].use;
    const auto& policy = system.vms[i].policy;
    const std::uint64_t at_once = use.asked - use.blocked;
    if (use.blocked > use.asked || use.granted < at_once || use.granted > use.asked) {
      return fmt::format("VM {}: {} asked, {} granted, {} blocked", i, use.asked, use.granted, use.blocked);
    }
    if (!policy.wait && (use.granted != at_once || use.denied < use.blocked || use.waited_ns != 0)) {
      return fmt::format("VM {} in loss mode: {} granted of {} free, {} denied of {} blocked, waited {} ns", i, use.granted,
                         at_once, use.denied, use.blocked, use.waited_ns);
    }
  }
  return "";
}

std::string gains(const System& system) {
  const Result result = spare::sim::simulate(system);
  for (std::size_t i = 0; i < result.vms.size(); i++) {
    const auto& policy = system.vms[i].policy;
    const Time windows = system.length_ns / policy.window_ns + 1;
    /* All CPUs may use what is left of it at once; what they exceed it by is the next window's. */
    const Time slack = system.vms[i].cpus.size() * policy.gain_ns;
    if (policy.gain_ns != 0 && result.vms[i].use.boost_ns > windows * policy.gain_ns + slack) {
      return fmt::format("VM {} gained {} ns in {} windows of {} ns", i, result.vms[i].use.boost_ns, windows, policy.gain_ns);
    }
    /* Its reservation, and the debt that it may leave behind: 8 Q, and the last switch. */
    const Time own = (system.length_ns / (system.vms[i].reservation.period_us * 1000) + 2) * system.vms[i].reservation.runtime_us * 1000;
    const Time got = result.vms[i].use.used_ns + result.vms[i].use.boost_ns;
    if (policy.payback && system.vms[i].cpus.size() == 1 && got > own + 8 * system.vms[i].reservation.runtime_us * 1000 + 100000) {
      return fmt::format("VM {} in pay-back mode got {} ns, {} of them borrowed; its reservation is {}", i, got,
                         result.vms[i].use.boost_ns, own);
    }
  }
  return "";
}

// How long the packets that found a provider free took to reach the vCPU.
class Seen : public Observer {
 public:
  void seen(unsigned, const Packet& packet, Time now) override {
    if (packet.found == Found::free) {
      most = std::max(most, now - packet.arrived);
      packets++;
    }
  }
  Time most = 0;
  unsigned packets = 0;
};

// How much of `enough` the vCPU of VM 0 has run since its network thread picked the packet up, and when it had it all.
class Answer : public Observer {
 public:
  explicit Answer(Time enough) : left_(enough) {}
  void served(unsigned vm, Time now) override { since_ = vm == 0 ? now : since_; }
  void charged(const Charge& charge) override {
    if (since_ == 0 || charge.user.owner != 0 || charge.thread != spare::sim::vcpu_thread || after != 0) {
      return;
    }
    const Time part = charge.to - std::max(charge.from, since_);
    after = part >= left_ ? charge.to - (part - left_) - since_ : 0;
    left_ -= std::min(part, left_);
  }
  Time after = 0;

 private:
  Time since_ = 0, left_;
};

// How often a VM's packets were denied.
class Denials : public Observer {
 public:
  void denied(const Place&, Time now) override { times.push_back(now); }
  std::vector<Time> times;
};

// One CPU whose switches cost nothing, one provider for every VM.
System make_system(Time length, std::uint64_t pool_runtime_us, std::vector<spare::sim::Vm> vms) {
  System system;
  system.length_ns = length;
  system.host.switch_ns = 0;
  system.pools.push_back({{pool_runtime_us, 10000}, 1});
  for (auto& vm : vms) {
    vm.pool = 0;
  }
  system.vms = std::move(vms);
  return system;
}

spare::sim::Vm make_vm(std::uint64_t runtime_us, std::uint64_t period_us, std::vector<Time> packets) {
  spare::sim::Vm vm;
  vm.reservation = {runtime_us, period_us};
  vm.cpus = {0};
  vm.traffic.recorded = std::make_shared<const std::vector<Time>>(std::move(packets));
  return vm;
}

// Whose packets had first service, in order, since a time; the mark that the last packet of VM 0 found.
class Order : public Observer {
 public:
  explicit Order(Time since) : since_(since) {}
  void came(const Place& home, const ThreadView&, const ThreadView&, Found, Time) override {
    found = home.owner == 0 ? home.abi.mark.phase : found;
  }
  void served(unsigned vm, Time now) override {
    if (now >= since_) {
      owners.push_back(vm);
    }
  }
  std::vector<unsigned> owners;
  unsigned found = SPARE_UNMARKED;

 private:
  Time since_;
};

// A deadline missed by a server whose threads have slept since before it.
class Missed : public Observer {
 public:
  void charged(const Charge& charge) override {
    if (charge.thread >= 0) {
      ran_[{charge.user.cpu, charge.user.slot}] = charge.to;
    }
  }
  void missed(const Place& server, bool asleep, Time now) override {
    const Time ran = ran_[{server.cpu, server.slot}], deadline = server.abi.cbs.d_ns - spare::sim::class_begins;
    if (!server.provider && asleep && ran < deadline && why.empty()) {
      why = fmt::format("VM {}: a miss of {} ns at {} ns; its threads sleep since {} ns", server.owner, deadline, now, ran);
    }
  }
  std::string why;

 private:
  std::map<std::pair<unsigned, unsigned>, Time> ran_;
};

// The host's work for packets takes what it wants.
std::string no_false_miss(const System& given) {
  System system = given;
  system.host.packet_ns = 300 * spare::sim::us;
  for (auto& vm : system.vms) {
    vm.net_ns++; /* a run of no length is not seen */
    vm.vcpu_ns++;
  }
  Missed observer;
  spare::sim::simulate(system, {1, &observer});
  return observer.why;
}

}  // namespace

TEST_CASE("SPARE-4: a mark outlasts the replenishment until the vCPU has run too: both halves of first service within Ps") {
  using spare::sim::ms;
  using spare::sim::us;
  unsigned packets = 0;
  /* 10/200 ms beside 80/100: its own deadline is the farther one. Packets around its replenishment at 400 ms. */
  for (Time at = 399 * ms; at < 400 * ms; at += 10 * us) {
    System system = make_system(600 * ms, 1000, {make_vm(10000, 200000, {at}), make_vm(80000, 100000, {})});
    system.vms[0].net_ns = 100 * us;
    system.vms[1].start_ns = 95 * ms;
    REQUIRE(spare::sim::check(system, SPARE_PPM));
    Seen observer;
    spare::sim::simulate(system, {1, &observer});
    CAPTURE(at);
    CHECK(observer.most <= 10 * ms);
    packets += observer.packets;
  }
  CHECK(packets >= 90);
}

TEST_CASE("SPARE-4: a packet that came shortly before the budget's end has its whole grant without waiting for the next period") {
  using spare::sim::ms;
  using spare::sim::us;
  /* 40/100 ms that burns: THROTTLED from 40 to 100 ms. */
  for (const Time grant : {500 * us, 2 * ms, 3 * ms}) {
    for (Time at = 36 * ms; at < 44 * ms; at += 50 * us) {
      System system = make_system(300 * ms, 4000, {make_vm(40000, 100000, {at})});
      system.vms[0].net_ns = 50 * us;
      system.vms[0].policy.grant_ns = grant;
      Answer with(grant - 50 * us), without(grant - 50 * us);
      spare::sim::simulate(system, {1, &with});
      system.vms[0].pool = -1;
      spare::sim::simulate(system, {1, &without});
      CAPTURE(at, grant);
      CHECK(with.after > 0);
      CHECK(with.after <= grant + 100 * us);
      /* without spare the rest comes with the next period, or all of it */
      CHECK((without.after >= 50 * ms) == (at < 40 * ms && at + grant > 40 * ms));
    }
  }
}

TEST_CASE("SPARE-5, SPARE-6: a packet is denied once, in whichever half of first service the gain's bound left it") {
  using spare::sim::ms;
  using spare::sim::us;
  std::vector<Time> packets;
  for (unsigned i = 1; i <= 100; i++) {
    packets.push_back(i * 103700 * us);
    packets.push_back(i * 103700 * us + 2 * ms);
  }
  for (Time window = 3 * ms; window < 12 * ms; window += ms) {
    System system = make_system(11 * spare::sim::second, 1000, {make_vm(150, 10000, packets)});
    system.vms[0].net_ns = 60 * us;
    system.vms[0].policy.window_ns = window;
    system.vms[0].policy.gain_ns = 1;
    Denials observer;
    const Result result = spare::sim::simulate(system, {1, &observer});
    CAPTURE(window, observer.times.size());
    CHECK(result.vms[0].seen == packets.size());
    CHECK(!observer.times.empty());
    for (std::size_t i = 0; i + 2 < observer.times.size(); i++) {
      /* two packets within 2 ms, then none for 100 ms: no three denials within 50 ms */
      CHECK(observer.times[i + 2] - observer.times[i] > 50 * ms);
    }
  }
}

TEST_CASE("SPARE-5, SPARE-6: what the gain's bound leaves of a packet's grant is forgotten: the next one waits in its own turn") {
  using spare::sim::ms;
  using spare::sim::us;
  /* Three VMs of 10/100 ms that burn: THROTTLED from 30 to 100 ms of each period at the latest. */
  const auto make = [](bool late) {
    System system = make_system(200 * ms, 4000, {make_vm(10000, 100000, {50 * ms, 149500 * us}),
                                                 make_vm(10000, 100000, {149 * ms}), make_vm(10000, 100000, {148 * ms})});
    if (late) {
      /* picked up half a millisecond before VM 0's second budget ends; its first packet has used the gain up */
      system.vms[0].traffic.recorded = std::make_shared<const std::vector<Time>>(std::vector<Time>{50 * ms, 109500 * us, 149500 * us});
    }
    for (auto& vm : system.vms) {
      vm.net_ns = 50 * us;
      vm.policy.grant_ns = 2 * ms;
    }
    system.vms[0].policy.window_ns = 95 * ms;  /* it begins with the first loan, at 50 ms */
    system.vms[0].policy.gain_ns = 2 * ms;
    return system;
  };
  for (const bool late : {false, true}) {
    /* VM 2 has the provider when those of VM 1 and VM 0 come. */
    Order observer(145 * ms);
    const Result result = spare::sim::simulate(make(late), {1, &observer});
    CAPTURE(late);
    CHECK(observer.found == SPARE_UNMARKED);
    CHECK(observer.owners == std::vector<unsigned>{2, 1, 0});
    CHECK(result.vms[0].use.granted == 2);
    CHECK(result.vms[0].use.denied == 0);
  }
}

TEST_CASE("CBS-5: a server whose threads sleep misses no deadline, whatever the host takes") {
  CHECK(generate::check(cases, {.policies = true, .hasten = true}, no_false_miss) == "");
}

TEST_CASE("SPARE-3, SPARE-8: first service within Ps - Qs when a provider is free, else counted, and within the own bound always") {
  CHECK(generate::check(cases, {}, bounds) == "");
  CHECK(generate::check(cases, {.vms = 3, .burning = true}, bounds) == "");
}

TEST_CASE("SPARE-7, SPARE-8: the bounds hold with far deadlines brought forward") {
  CHECK(generate::check(cases, {.hasten = true}, bounds) == "");
}

TEST_CASE("SPARE-8: every packet reaches its vCPU, whatever the policy, on one CPU and on several") {
  CHECK(generate::check(cases / 10, {.policies = true, .hasten = true}, none_lost) == "");
  CHECK(generate::check(cases / 10, {.cpus = 3, .overhead = true, .policies = true}, none_lost) == "");
}

TEST_CASE("SPARE-5: what a pool is asked, grants, blocks and denies adds up; nobody waits in loss mode") {
  CHECK(generate::check(cases, {.policies = true}, counts) == "");
  CHECK(generate::check(cases, {.cpus = 3, .policies = true}, counts) == "");
}

TEST_CASE("SPARE-6: a VM gains at most its bound per window") {
  CHECK(generate::check(cases, {.policies = true}, gains) == "");
}
