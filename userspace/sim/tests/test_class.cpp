// SPDX-License-Identifier: GPL-2.0-only
//
// The class where what it is told cannot be, and where a thread goes at the worst moment: a host of two CPUs on which nothing happens by chance.
#include <algorithm>
#include <bit>
#include <catch2/catch_test_macros.hpp>
#include <cstdio>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "sim/class/module.hpp"

using namespace spare::model;

namespace {

class Bench : public Kernel {
 public:
  // queues: that the class makes at its load
  explicit Bench(unsigned queues = 64, unsigned cpus = 2) : Kernel(Exact{0}, cpus) {
    root_.css = {1, 1};
    root_.scx = {false, 100, 100'000, ~0ULL, 0};
    class_begin(cpus);
    module.queues_wanted_ = queues;
    if (sched_spare_ops.init()) fail("init fails");
  }

  // On CPU 0, or all of these.
  Vm& vm(std::uint32_t runtime_us, std::uint32_t period_us, bool provide = false, u64 cpus = 1) {
    Vm& vm = module.make_vm();
    vm.group.parent = &root_;
    REQUIRE(module.set(vm, {{runtime_us, period_us}, provide, cpus}));
    interrupt_ends(0);
    return vm;
  }
  static const spare_server& server(const Vm& vm) { return spare::model::module->at(0, vm.slot[0])->abi; }
  static spare_server& tampered(const Vm& vm) { return spare::model::module->at(0, vm.slot[0])->abi; }

  // A thread of it, or of the host's, asleep, on the first of the CPUs that it may run on. A hog is a real-time one.
  Task& thread(Vm* vm, Role role, Time work, u64 cpus = 1) {
    Task& p = *tasks_.emplace_back(std::make_unique<Task>());
    p.role = role;
    p.pid = static_cast<int>(2000 + tasks_.size());
    std::snprintf(p.comm, sizeof(p.comm), role == Role::net ? "vhost-%d" : "CPU %d/KVM", p.pid);
    p.policy = role == Role::hog ? Policy::realtime : Policy::ext;
    p.mask.bits = cpus;
    p.cpus_ptr = &p.mask;
    p.nr_cpus_allowed = std::popcount(cpus);
    p.prio = 120;
    p.scx.weight = 100;
    p.vm = vm;
    p.sched_task_group = &root_;
    p.left = work;
    born(p, static_cast<unsigned>(std::countr_zero(cpus)));
    return p;
  }

  // At that time, in an interrupt of CPU 0.
  void at_ms(double when, std::function<void()> what) {
    calls_.push_back(std::move(what));
    post(begins_ + static_cast<Time>(when * ms), 0, static_cast<std::uint32_t>(calls_.size() - 1));
  }
  void until_ms(double when) { run_until(begins_ + static_cast<Time>(when * ms)); }

  // What ends it before that.
  std::string ended_by(double when) {
    try {
      until_ms(when);
    } catch (const Violation& violation) {
      return violation.what;
    }
    return "";
  }

  Module module{*this};

 protected:
  void work_done(Task&) override {
    const int cpu = here_cpu();
    block(cpu);
    interrupt_ends(cpu);
  }
  void happens(std::uint32_t what) override {
    calls_[what]();
    interrupt_ends(0);
  }
  void elsewhere(Cpu&, Task&) override {}
  void switched(Cpu&, Task&, Task&) override {}
  void gone(Task&) override {}
  void describe() override {}

 private:
  const Time begins_ = now();
  Group root_{};
  std::vector<std::unique_ptr<Task>> tasks_;
  std::vector<std::function<void()>> calls_;
};

}  // namespace

TEST_CASE("CBS-12: a server that loses its queue ends the class, with a word") {
  Bench bench;
  Vm& vm = bench.vm(20000, 100000);
  Task& burner = bench.thread(&vm, Role::burner, forever);
  bench.at_ms(0, [&] { bench.wake(0, burner); });
  bench.at_ms(10, [&] { Bench::tampered(vm).dsq = 0; });
  CHECK(bench.ended_by(10.5) == "");
  CHECK(Bench::server(vm).state == SPARE_RUNNING);
  CHECK(bench.ended_by(30) == "class_error: CPU 0: the server in slot 0 is throttled before it is configured");
}

TEST_CASE("CBS-12: a server that is published without a queue for it ends the class, with a word") {
  Bench bench(0);
  bench.module.queues_made_ = 1000;  // as if the class had said so
  Vm& vm = bench.vm(20000, 100000);
  SECTION("once as many as are wanted are there, there is none for it") {
    bench.module.queues_wanted_ = 0;
    bench.at_ms(0, [&] { bench.kick(0); });
    CHECK(bench.ended_by(10) == "class_error: no queue is left for a server: 0 were made, 0 are wanted");
  }
  SECTION("until then one may come yet") {
    bench.at_ms(0, [&] { bench.kick(0); });
    CHECK(bench.ended_by(10) == "");
    CHECK(Bench::server(vm).dsq == 0);
  }
}

// It goes to a CPU where it has to wait. The vCPU would burn all that the provider has, again and again.
TEST_CASE("SPARE-4: a network thread leaves before it has run: what is borrowed meanwhile is a grant") {
  Bench bench;
  Vm &vm = bench.vm(10000, 100000), &provider = bench.vm(4000, 10000, true), &first = bench.vm(1000, 5000);
  bench.module.policy(vm, ms, 0, second, 0, 0);
  REQUIRE(bench.module.use(vm, {&provider}));
  Task &vcpu = bench.thread(&vm, Role::vcpu, forever), &other = bench.thread(&first, Role::burner, forever);
  Task &net = bench.thread(&vm, Role::net, 20 * us), &hog = bench.thread(nullptr, Role::hog, forever, 2);
  bench.at_ms(0, [&] {
    bench.wake(0, vcpu);
    bench.wake(0, other);
    bench.wake(0, hog);
  });
  /* The network thread waits: a server with an earlier deadline has just been replenished. */
  bench.at_ms(50.1, [&] {
    REQUIRE(Bench::server(vm).state == SPARE_THROTTLED);
    REQUIRE(Bench::server(first).state == SPARE_RUNNING);
    bench.module.packet(vm);
    bench.wake(0, net);
  });
  bench.at_ms(50.2, [&] {
    CHECK(Bench::server(vm).mark.phase == SPARE_MARK_WOKEN);
    CHECK(Bench::server(vm).lender == provider.slot[0]);
    CHECK(Bench::server(vm).st.boost_ns == 0);
    bench.set_affinity(0, net, {2});
  });
  bench.until_ms(90);
  CHECK(Bench::server(vm).st.granted == 1);
  CHECK(Bench::server(vm).st.boost_ns == ms);
  CHECK(Bench::server(vm).lender == SPARE_NO_SLOT);
  CHECK(Bench::server(provider).borrower == SPARE_NO_SLOT);
}

// The one that a real-time thread puts aside has run for 1 ms, the real-time thread for 8: who wakes then does not preempt it.
TEST_CASE("CBS-9: what a real-time thread runs is no progress of whom it has put aside") {
  Bench bench;
  Task &burner = bench.thread(nullptr, Role::burner, forever), &hog = bench.thread(nullptr, Role::hog, 8 * ms), &late = bench.thread(nullptr, Role::burner, forever);
  bench.at_ms(0, [&] { bench.wake(0, burner); });
  bench.at_ms(1, [&] { bench.wake(0, hog); });
  bench.at_ms(8, [&] { bench.wake(0, late); });
  bench.until_ms(9.5);
  CHECK(bench.running(burner));
}

// Whom a real-time thread has put aside goes on before any dispatch, with what is left of its slice.
TEST_CASE("CBS-9: who preempts by waking behind a real-time thread does not wait for whom that has put aside") {
  Bench bench;
  Task &one = bench.thread(nullptr, Role::burner, forever), &other = bench.thread(nullptr, Role::burner, forever);
  Task &hog = bench.thread(nullptr, Role::hog, 2 * ms), &sleeper = bench.thread(nullptr, Role::sleeper, ms / 2);
  bench.at_ms(0, [&] {
    bench.wake(0, one);
    bench.wake(0, other);
  });
  bench.at_ms(41, [&] { bench.wake(0, hog); });
  bench.at_ms(42, [&] { bench.wake(0, sleeper); });
  bench.until_ms(42.9);
  CHECK(bench.running(hog));
  bench.until_ms(43.2);
  CHECK(bench.running(sleeper));
}

// A crowd that is bound to CPU 0 waits there, and behind it one that CPU 1, with nothing to do after 5 ms, may run. Who looks for it sees 32 of a queue,
// and now and then 1024.
TEST_CASE("CBS-9: behind a crowd that is bound to its CPU one that may run on an idle CPU is found") {
  Bench bench;
  Vm* vm = nullptr;
  SECTION("a host task") {}
  SECTION("a VM's thread, where a sibling of its server has budget") { vm = &bench.vm(20000, 100000, false, 3); }
  Task &last = bench.thread(vm, Role::vcpu, forever, 3), &there = bench.thread(vm, Role::vcpu, 5 * ms, 2);
  bench.at_ms(0, [&] {
    bench.wake(0, there);
    for (int i = 0; i < 200; i++) bench.wake(0, bench.thread(vm, Role::vcpu, forever));
  });
  bench.at_ms(1, [&] {
    REQUIRE(bench.running(there));
    bench.wake(0, last);
    CHECK(last.thread_info.cpu == 0);
  });
  // The invariant of check.cpp: a look's rest, and the period in which a server's CPU is asked.
  bench.until_ms(vm ? 255 : 165);
  CHECK(last.thread_info.cpu == 1);
}

// Its strays take most of each budget, so that its own queue has little of it, though there is some whenever a period begins.
TEST_CASE("CBS-7: a crowd whose strays take the budget has its turns all the same") {
  Bench bench(64, 8);
  Vm& vm = bench.vm(50000, 1000000);
  std::vector<Task*> crowd, strays;
  for (int i = 0; i < 400; i++) crowd.push_back(&bench.thread(&vm, Role::burner, forever));
  for (unsigned cpu = 1; cpu < 8; cpu++) strays.push_back(&bench.thread(&vm, Role::burner, forever, 1ULL << cpu));
  bench.at_ms(0, [&] {
    for (Task* p : crowd) bench.wake(0, *p);
    for (Task* p : strays) bench.wake(0, *p);
  });
  CHECK(bench.ended_by(30000) == "");
  CHECK(std::count_if(crowd.begin(), crowd.end(), [](const Task* p) { return p->ran == 0; }) == 0);
}

// Woken where its CPU is busy, it is taken by an idle one, and sleeps before a tick: the kernel's clock stands still for that run ("The rq clock" in DESIGN).
TEST_CASE("CBS-11: what the kernel's account of a stray misses is charged") {
  Bench bench(64, 3);
  Vm& vm = bench.vm(5000, 100000);
  Task& stray = bench.thread(&vm, Role::burner, 0, 0b110);
  const std::vector<Task*> starters = {&bench.thread(nullptr, Role::burner, 0, 0b010), &bench.thread(nullptr, Role::burner, 0, 0b100)};
  for (int i = 0; i < 900; i++) {
    bench.at_ms(2.2 * i, [&] {
      Task& starter = *starters[stray.thread_info.cpu - 1];
      starter.left = 100 * us;
      if (!starter.on_rq) bench.wake(0, starter);
    });
    bench.at_ms(2.2 * i + 0.05, [&] {
      if (stray.on_rq) return;
      stray.left = 1900 * us;
      bench.wake(0, stray);
    });
  }
  CHECK(bench.ended_by(2000) == "");
  CHECK(stray.ran > 50 * ms);
  CHECK(stray.ran < 115 * ms);
}

TEST_CASE("CBS-11: a stray that is parked behind another VM's long budget runs on an idle CPU when its own is back") {
  Bench bench(64, 3);
  Vm &vm = bench.vm(20000, 100000), &neighbour = bench.vm(900000, 1000000, false, 0b010);
  Task &stray = bench.thread(&vm, Role::burner, forever, 0b110), &other = bench.thread(&neighbour, Role::burner, forever, 0b010);
  bench.at_ms(0, [&] { bench.wake(0, stray); });
  bench.at_ms(30, [&] { bench.wake(0, other); });
  CHECK(bench.ended_by(90) == "");
  CHECK(stray.thread_info.cpu == 1);
  CHECK(stray.ran < 40 * ms);
  CHECK(bench.ended_by(500) == "");
  CHECK(stray.ran > 90 * ms);
}

// What a VM that burns has of a CPU in end_ms, in ns, when its only server goes to the other CPU every step_ms, and its thread with it.
static std::uint64_t moved(unsigned runtime_us, unsigned period_us, unsigned step_ms, unsigned end_ms) {
  Bench bench;
  Vm& vm = bench.vm(runtime_us, period_us);
  Task& thread = bench.thread(&vm, Role::burner, forever, 0b11);
  bench.at_ms(0, [&] { bench.wake(0, thread); });
  for (unsigned i = 1; i * step_ms < end_ms; i++) {
    bench.at_ms(i * step_ms, [&, cpu = i % 2] {
      REQUIRE(bench.module.set(vm, {{runtime_us, period_us}, false, 1ULL << cpu}));
      bench.set_affinity(0, thread, {1ULL << cpu});
    });
  }
  CHECK(bench.ended_by(end_ms) == "");
  return thread.ran;
}

TEST_CASE("CBS-11: a VM that moves its server with each used-up budget has no more for it") {
  const std::uint64_t ran = moved(400000, 1000000, 600, 6000);
  CHECK(ran > 1900 * ms);
  CHECK(ran < 2850 * ms);
}

TEST_CASE("CBS-11: nor has one that moves it within each budget") {
  const std::uint64_t ran = moved(20000, 100000, 19, 2000);
  CHECK(ran > 350 * ms);
  CHECK(ran < 425 * ms);
}

// It is cut short in each gap: its turn ends all the same.
TEST_CASE("CBS-8: two threads of a VM that runs in gaps of 13 us only take turns") {
  Bench bench;
  Vm &first = bench.vm(87, 100), &vm = bench.vm(2000, 100000);
  Task& other = bench.thread(&first, Role::burner, forever);
  const std::vector<Task*> two = {&bench.thread(&vm, Role::burner, forever), &bench.thread(&vm, Role::burner, forever)};
  bench.at_ms(0, [&] {
    bench.wake(0, other);
    for (Task* p : two) bench.wake(0, *p);
  });
  CHECK(bench.ended_by(3000) == "");
  CHECK(two[0]->ran > 10 * ms);
  CHECK(two[1]->ran > 10 * ms);
}
