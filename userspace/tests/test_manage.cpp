// SPDX-License-Identifier: GPL-2.0-only
//
// What spared decides about one cgroup: caps (LIFE-2), membership, the back-off, vCPU threads.
#include <catch2/catch_test_macros.hpp>
#include <random>

#include "backoff.hpp"
#include "cap.hpp"
#include "fake_tree.hpp"
#include "membership.hpp"
#include "pass_clock.hpp"
#include "util/files.hpp"
#include "threads.hpp"
#include "unseen.hpp"

using namespace spare;

TEST_CASE("LIFE-2: the cap is n Q/P exactly, in a form that the kernel takes") {
  std::mt19937 random(7);
  for (int round = 0; round < 20000; round++) {
    const std::uint64_t period = std::uniform_int_distribution<std::uint64_t>(100, 1'000'000)(random);
    const std::uint64_t least = std::max<std::uint64_t>(50, (period * 5 + 999) / 1000);
    const std::uint64_t runtime = std::uniform_int_distribution<std::uint64_t>(least, period)(random);
    const std::uint64_t servers = std::uniform_int_distribution<std::uint64_t>(1, 64)(random);
    const auto words = split(cap_of({runtime, period}, static_cast<unsigned>(servers)), " ");
    REQUIRE(words.size() == 2);
    const std::uint64_t quota = std::stoull(words[0]), length = std::stoull(words[1]);
    INFO(runtime << "/" << period << " x " << servers);
    REQUIRE(quota * period == length * runtime * servers);
    REQUIRE(quota >= 1000);
    REQUIRE(length >= 1000);
    REQUIRE(length <= 1'000'000);
  }
  CHECK(cap_of({40'000, 100'000}, 1) == "40000 100000");
  CHECK(cap_of({4000, 10'000}, 2) == "8000 10000");
  CHECK(cap_of({50, 100}, 1) == "1000 2000");
  CHECK(cap_of({1'000'000, 1'000'000}, 1) == "1000000 1000000");
  CHECK(cap_of({40'000, 100'000}, 1, 1'250'000) == "165000 100000");
  CHECK(cap_of({50, 100}, 1, 5001) == "1020 2000");
}

TEST_CASE("LIFE-2: a unit's cap is what systemd is told, exactly; what a daemon-reload makes of it is ours, and never no limit") {
  std::mt19937 random(8);
  for (int round = 0; round < 20000; round++) {
    const std::uint64_t period = std::uniform_int_distribution<std::uint64_t>(1000, 1'000'000)(random);
    const std::uint64_t quota = std::uniform_int_distribution<std::uint64_t>(1000, 8 * period)(random);
    const std::string cap = unit_cap(std::to_string(quota) + " " + std::to_string(period));
    const auto told = unit_quota(cap);
    INFO(cap);
    REQUIRE(told);
    REQUIRE(std::to_string(told->per_second_us * told->period_us / 1'000'000) + " " + std::to_string(told->period_us) == cap);
    const std::string after = reloaded_unit_cap(cap);
    REQUIRE_FALSE(after.starts_with("max"));
    const CapStep step = cap_step(after, CapRecord{"max 100000", cap, ""}, cap, true);
    REQUIRE((after == cap ? step.nothing() : step.write == cap && step.record->operators == "max 100000"));
  }
  CHECK(unit_cap("33300 100000") == "33300 100000");
  CHECK(reloaded_unit_cap("33300 100000") == "33000 100000");
  CHECK(unit_cap("1000 200000") == "2000 200000");
  CHECK(reloaded_unit_cap("1000 1900") == "1000 1923");
  CHECK_FALSE(unit_quota("max 100000"));
}

namespace {

// A cgroup and a daemon that may be killed between any two of its steps.
struct World {
  std::string file = "max 100000";
  std::optional<std::string> mark;
  std::string operators = file;

  // Does up to `steps` things; true when nothing was left to do.
  bool daemon(const std::optional<std::string>& wanted, int steps) {
    for (;;) {
      const auto record = CapRecord::parse(mark);
      if (!wanted && !record) {
        return true;
      }
      const CapStep step = cap_step(file, record, wanted);
      if (step.nothing()) {
        return true;
      }
      if (step.record) {
        if (steps-- == 0) {
          return false;
        }
        mark = step.record->text();
      }
      if (step.write) {
        if (steps-- == 0) {
          return false;
        }
        file = *step.write;
      }
      if (step.forget) {
        if (steps-- == 0) {
          return false;
        }
        mark.reset();
      }
    }
  }
};

}  // namespace

TEST_CASE("LIFE-2: the operator's cpu.max comes back, whenever the daemon is killed and whatever the operator writes meanwhile") {
  std::mt19937 random(3);
  const auto upto = [&](int most) { return std::uniform_int_distribution<int>(0, most)(random); };
  for (int round = 0; round < 5000; round++) {
    World world;
    std::optional<std::string> wanted;
    for (int event = 0; event < 12; event++) {
      switch (upto(3)) {
        case 0:
          wanted = upto(2) == 0 ? std::nullopt : std::optional("cap" + std::to_string(upto(2)) + " 1");
          break;
        case 1:
          world.operators = world.file = "op" + std::to_string(upto(3)) + " 1";
          break;
        default:
          world.daemon(wanted, upto(5));
      }
    }
    REQUIRE(world.daemon(wanted, 10));
    REQUIRE(world.file == wanted.value_or(world.operators));
    REQUIRE(world.daemon(std::nullopt, 10));
    REQUIRE(world.file == world.operators);
    REQUIRE_FALSE(world.mark);
  }
}

TEST_CASE("SPARE-5: a member is bound, moved and let go; an operator's list is left alone") {
  const Membership a{"/pool/a", "grant_us=1"}, b{"/pool/b", ""};
  const auto fresh = membership_step("none", std::nullopt, a);
  CHECK(fresh.use == "/pool/a");
  CHECK(fresh.policy == "grant_us=1");
  CHECK(fresh.record == a);
  CHECK_FALSE(membership_step("/pool/a", a, a).record);
  CHECK_FALSE(membership_step("/pool/mine", std::nullopt, a).use);
  CHECK_FALSE(membership_step("/pool/mine", a, a).use);
  const auto again = membership_step("none", a, a);  // pool or module was removed and made anew, or an operator has handed it back
  CHECK(again.use == "/pool/a");
  CHECK(again.policy == "grant_us=1");
  CHECK(membership_step("/pool/a", a, b).use == "/pool/b");
  const auto gone = membership_step("/pool/a", a, std::nullopt);
  CHECK(gone.use == "none");
  CHECK(gone.forget);
  const auto taken = membership_step("/pool/mine", a, std::nullopt);
  CHECK_FALSE(taken.use);
  CHECK(taken.forget);
  const Membership louder{"/pool/a", "grant_us=2"};
  const auto changed = membership_step("/pool/a", a, louder);
  CHECK_FALSE(changed.use);
  CHECK(changed.policy == "grant_us=2");
  CHECK(Membership::parse(a.text()) == a);
  CHECK_FALSE(Membership::parse(std::nullopt));
}

TEST_CASE("LIFE-2: back-off: 1 s, doubled to 60 s, over after 5 minutes of health") {
  Backoff backoff;
  using std::chrono::seconds;
  for (const int wait : {1, 2, 4, 8, 16, 32, 60, 60}) {
    CHECK(backoff.after_failure(seconds(3)) == seconds(wait));
  }
  CHECK(backoff.after_failure(seconds(299)) == seconds(60));
  CHECK(backoff.after_failure(seconds(300)) == seconds(1));
  CHECK(backoff.after_failure({}) == seconds(2));
}

TEST_CASE("SPARE-9: packets to a tap of which none is counted are told, when there are enough since the first look") {
  Unseen unseen;
  const auto look = [&](std::uint64_t sent, std::uint64_t seen) {
    const auto told = unseen.look("/vm/a", sent, seen);
    unseen.end_of_pass();
    return told;
  };
  CHECK(look(1000, 0) == 0);  // of before
  CHECK(look(1015, 0) == 0);
  CHECK(look(1016, 0) == 16);
  CHECK(look(1100, 0) == 100);
  CHECK(look(1200, 1) == 0);  // one is counted
  CHECK(look(1210, 1) == 0);
  CHECK(look(5, 0) == 0);  // another tap of that name
  CHECK(look(20, 0) == 0);
  CHECK(look(21, 0) == 16);
  unseen.end_of_pass();  // the VM has gone, and another one comes
  CHECK(look(400, 0) == 0);
  CHECK(unseen.look("/vm/b", 400, 0) == 0);
}

TEST_CASE("SPARE-9: what a tap sends, and a macvtap receives, goes to the VM") {
  FakeTree tree;
  tree.file("sys/class/net/tap0/tun_flags", "0x1002\n");
  tree.file("sys/class/net/tap0/statistics/tx_packets", "7\n");
  tree.file("sys/class/net/tap0/statistics/rx_packets", "3\n");
  tree.file("sys/class/net/macvtap0/statistics/tx_packets", "7\n");
  tree.file("sys/class/net/macvtap0/statistics/rx_packets", "3\n");
  const Roots roots = Roots::below(tree.root());
  CHECK(packets_to_vm(roots, "tap0") == 7);
  CHECK(packets_to_vm(roots, "macvtap0") == 3);
  CHECK(packets_to_vm(roots, "none") == 0);
}

TEST_CASE("CBS-11: a pass follows a change within a second, and passes use a tenth of a CPU at most, whatever changes") {
  using std::chrono::milliseconds;
  const PassClock::Time start{std::chrono::hours(1)};
  PassClock clock(start);
  CHECK(clock.due() == start);
  clock.done(start, milliseconds{2});
  CHECK(clock.due() == start + PassClock::interval);
  clock.reason(start + milliseconds{500});
  CHECK(clock.due() == start + milliseconds{600});
  // Changed all the time: it is not put off for ever.
  for (int ms = 500; ms < 1500; ms += 50) {
    clock.reason(start + milliseconds{ms});
  }
  CHECK(clock.due() == start + milliseconds{1500});

  // A long pass: what changes then waits for an interval, not for nine passes.
  clock.done(start, std::chrono::seconds(2));
  clock.reason(start + milliseconds{1});
  CHECK(clock.due() == start + PassClock::interval);

  std::mt19937 random(5);
  for (const int took : {1, 7, 60, 400}) {
    PassClock storm(start);
    auto now = start;
    milliseconds used{0};
    while (now < start + std::chrono::minutes(10)) {
      storm.reason(now);
      now += milliseconds(std::uniform_int_distribution<int>(1, 120)(random));
      if (now >= storm.due()) {
        now += milliseconds(took);
        used += milliseconds(took);
        storm.done(now, milliseconds(took));
      }
    }
    CAPTURE(took);
    CHECK(used <= (now - start) / 10 + milliseconds(took));
    CHECK(used >= milliseconds(took) * 60);
  }
}

TEST_CASE("CBS-6, CBS-11: threads below the cgroup too, vCPUs by their names, affinity and policy") {
  FakeTree tree;
  tree.good_machine();
  tree.file("sys/fs/cgroup/vm/a/cgroup.threads", "10\n11\n");
  tree.file("sys/fs/cgroup/vm/a/vcpu1/cgroup.threads", "12\n13\n99\n");
  for (const auto& [thread, name] : {std::pair("10", "qemu-system-x86"), {"11", "CPU 0/KVM"}, {"12", "CPU 11/KVM"}, {"13", "IO mon"}}) {
    tree.file(std::string("proc/") + thread + "/comm", std::string(name) + "\n");
  }
  const Roots roots = Roots::below(tree.root());
  const auto cgroups = CgroupTree::open(roots);
  REQUIRE(cgroups);
  tree.file("proc/12/status", "Name:\tCPU 11/KVM\nCpus_allowed:\tc\nCpus_allowed_list:\t2-3\nMems_allowed:\t1\n");
  tree.file("proc/12/task/12/stat", "12 (CPU 11/KVM) S 1 1 1 0 -1 0 0 0 0 0 0 0 0 0 -2 0 1 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 17 2 1 1 0 0 0\n");
  tree.file("sys/fs/cgroup/vm/a/inner/cgroup.threads", "13\n");
  tree.file("sys/fs/cgroup/vm/a/inner/spare.reservation", "1000 10000\n");
  tree.file("sys/fs/cgroup/vm/a/inner/spare.cpus", "1\n");
  const auto threads = threads_in(roots, *cgroups, "/vm/a");
  CHECK(threads.size() == 4);  // 99 has gone
  const auto vcpus = vcpus_of(threads);
  REQUIRE(vcpus.size() == 2);
  CHECK((vcpus[0].id == "11" && vcpus[0].allowed.empty() && !vcpus[0].realtime));
  CHECK((vcpus[1].name == "CPU 11/KVM" && vcpus[1].allowed == Cpus{2, 3} && vcpus[1].realtime));
  CHECK_FALSE(is_vcpu_name("CPU /KVM"));
  CHECK_FALSE(is_vcpu_name("CPU 0/TCG"));
}
