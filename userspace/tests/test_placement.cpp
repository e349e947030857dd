// SPDX-License-Identifier: GPL-2.0-only
//
// Placement against every subset of a small host, and the ledger that it reads from.
#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <random>

#include "fake_tree.hpp"
#include "ledger.hpp"
#include "placement.hpp"

using namespace spare;

namespace {

using Sites = std::vector<Site>;

// The best of all subsets that keep what is to be kept and take only CPUs with room beside it.
PlacementValue best_of_all(const Sites& sites, const PlacementRequest& request) {
  Cpus kept;
  for (const Site& site : sites) {
    if (contains(request.keep, site.cpu.id)) {
      kept.push_back(site.cpu.id);
    }
  }
  const size_t most = std::max<size_t>(request.servers, kept.size());
  PlacementValue best;
  for (unsigned subset = 0; subset < 1U << sites.size(); subset++) {
    Cpus chosen;
    bool allowed = true;
    for (size_t i = 0; i < sites.size(); i++) {
      const bool keep = contains(kept, sites[i].cpu.id), in = (subset >> i & 1) != 0;
      allowed = allowed && (in || !keep) && (!in || keep || sites[i].room_ppm >= request.ask_ppm);
      if (in) {
        chosen.push_back(sites[i].cpu.id);
      }
    }
    if (allowed && chosen.size() <= most) {
      best = std::max(best, value_of(sites, chosen));
    }
  }
  return best;
}

Sites sites_with_room(std::initializer_list<std::uint32_t> room) {
  Sites sites;
  for (const std::uint32_t ppm : room) {
    const auto id = static_cast<unsigned>(sites.size());
    sites.push_back({{id, id, 0}, ppm, false});
  }
  return sites;
}

}  // namespace

TEST_CASE("CBS-6: placement is the best of all placements") {
  std::mt19937 random(42);
  const auto upto = [&](unsigned most) { return std::uniform_int_distribution<unsigned>(0, most)(random); };
  for (int round = 0; round < 3000; round++) {
    Sites sites;
    const unsigned cpus = 1 + upto(8), threads = 1 + upto(2), per_node = 1 + upto(cpus);
    for (unsigned id = 0; id < cpus; id++) {
      sites.push_back({{id, id / threads * threads, id / threads * threads / per_node}, 50'000 * upto(18), upto(2) == 0});
    }
    PlacementRequest request{50'000 * (1 + upto(10)), 1 + upto(4), {}};
    for (unsigned id = 0; id <= cpus; id++) {  // one past the end: a CPU that has gone
      if (upto(5) == 0) {
        request.keep.push_back(id);
      }
    }
    const Cpus chosen = place(sites, request);
    CHECK(std::is_sorted(chosen.begin(), chosen.end()));
    REQUIRE(value_of(sites, chosen) == best_of_all(sites, request));
    for (const unsigned cpu : chosen) {
      const bool fits = sites[cpu].room_ppm >= request.ask_ppm;
      REQUIRE((fits || contains(request.keep, cpu)));
    }
  }
}

TEST_CASE("CBS-6: worst fit: the CPU with the most room") {
  const auto sites = sites_with_room({300'000, 700'000, 500'000});
  CHECK(place(sites, {400'000, 1, {}}) == Cpus{1});
  CHECK(place(sites, {400'000, 2, {}}) == Cpus{1, 2});
  CHECK(place(sites, {400'000, 3, {}}) == Cpus{1, 2});
  CHECK(place(sites, {800'000, 1, {}}).empty());
  CHECK(place(sites, {300'000, 2, {0}}) == Cpus{0, 1});
  CHECK(place(sites, {900'000, 2, {0}}) == Cpus{0});
}

TEST_CASE("CBS-11: each thread has a server where it may run, if there is room") {
  const auto sites = sites_with_room({300'000, 700'000, 500'000, 100'000});
  const PlacementRequest two{200'000, 2, {0, 1}};
  CHECK(keep_for(sites, two, {}) == Cpus{0, 1});
  CHECK(keep_for(sites, two, {{0, 1, 2, 3}}) == Cpus{0, 1});
  CHECK(keep_for(sites, two, {{2}, {0, 2}}) == Cpus{0, 2});
  CHECK(keep_for(sites, two, {{1, 2}, {2}, {0, 1, 2, 3}}) == Cpus{0, 2});
  CHECK(keep_for(sites, two, {{3}}) == Cpus{0, 1});  // full
  CHECK(keep_for(sites, {200'000, 1, {}}, {{0, 2}, {1}}) == Cpus{1, 2});  // more threads than servers asked for
  std::mt19937 random(11);
  const auto upto = [&](unsigned most) { return std::uniform_int_distribution<unsigned>(0, most)(random); };
  for (int round = 0; round < 3000; round++) {
    Sites some;
    const unsigned cpus = 1 + upto(6);
    for (unsigned id = 0; id < cpus; id++) {
      some.push_back({{id, id, 0}, 100'000 * upto(9), false});
    }
    PlacementRequest request{100'000 * (1 + upto(8)), 1 + upto(3), {}};
    std::vector<Cpus> threads(upto(4));
    for (unsigned id = 0; id < cpus; id++) {
      if (upto(3) == 0) {
        request.keep.push_back(id);
      }
      for (Cpus& thread : threads) {
        if (upto(1) == 0) {
          thread.push_back(id);
        }
      }
    }
    const Cpus kept = keep_for(some, request, threads);
    for (const unsigned cpu : kept) {
      REQUIRE((contains(request.keep, cpu) || some[cpu].room_ppm >= request.ask_ppm));
    }
    REQUIRE(kept.size() <= std::max<size_t>(request.servers, threads.size()));
    for (const Cpus& thread : threads) {
      const bool possible = std::any_of(thread.begin(), thread.end(), [&](unsigned cpu) {
        return contains(request.keep, cpu) || some[cpu].room_ppm >= request.ask_ppm;
      });
      REQUIRE(intersection(kept, thread).empty() != possible);
    }
  }
}

TEST_CASE("CBS-6: siblings of one core come last, and a node is not left") {
  // Two nodes of two cores with two threads each.
  Sites sites;
  for (unsigned id = 0; id < 8; id++) {
    sites.push_back({{id, id / 2 * 2, id / 4}, id < 4 ? 500'000U : 400'000U, false});
  }
  CHECK(place(sites, {100'000, 2, {}}) == Cpus{0, 2});
  CHECK(place(sites, {100'000, 4, {}}) == Cpus{0, 1, 2, 3});
  CHECK(place(sites, {100'000, 2, {5}}) == Cpus{5, 6});
  sites[6].has_spares = true;
  CHECK(place(sites, {100'000, 1, {}}) == Cpus{6});
  CHECK(place(sites, {100'000, 5, {}}).size() == 5);
  const auto why = explain(sites, {100'000, 1, {}}, {6}, "/pool/net");
  CHECK(why.find("node 1") != std::string::npos);
  CHECK(why.find("spares of /pool/net on 1") != std::string::npos);
}

TEST_CASE("CBS-6: a refusal names the fullest CPU and what would fit") {
  const Ledger ledger(900'000, {{"/vm/a", Reservation{40'000, 100'000}, {0, 1}, false, "none"},
                                {"/pool/p0", Reservation{1000, 10'000}, {1}, true, "none"},
                                {"/vm/none", std::nullopt, {1}, false, "none"}});
  CHECK(ledger.taken_ppm(1) == 500'000);
  CHECK(ledger.room_ppm(1, "/vm/a") == 800'000);
  CHECK(ledger.room_ppm(7) == 900'000);
  CHECK(ledger.full_for("/vm/b", {60'000, 100'000}, {0, 1, 2}) == Cpus{0, 1});
  const std::string text = ledger.refusal("/vm/b", {60'000, 100'000}, {0, 1}, {0, 1, 2, 3});
  CHECK(text == "CPU 1 is full: 60ms/100ms asked, at most 40ms/100ms fits beside /vm/a 40 %, /pool/p0 10 % (limit 90 %); "
                "room for it: CPUs 2-3");
  CHECK(ledger.refusal("/vm/b", {40'000, 100'000}, {0, 1}, {0, 1}).empty());
  CHECK(ledger.refusal("/vm/b", {95, 100}, {2}, {0, 1, 2}).find("no CPU has room") != std::string::npos);
  CHECK(full_cpu_in("x (kernel: /vm/CPU 5: CPU 12 is full: 1)") == 12);
  CHECK_FALSE(full_cpu_in("CPU is full"));
}

TEST_CASE("CBS-6: what SCHED_DEADLINE threads hold is no room") {
  FakeTree tree;
  tree.good_machine();
  tree.file("sys/fs/cgroup/spare.host", "cpu0.deadline_ppm 0\ncpu1.deadline_ppm 299999\ncpu12.deadline_ppm 50000\nnew.key 3\n");
  const auto cgroups = CgroupTree::open(Roots::below(tree.root()));
  REQUIRE(cgroups);
  CHECK(read_deadlines(*cgroups) == Deadlines{{1, 299'999}, {12, 50'000}});
  const Ledger ledger(900'000, {{"/vm/a", Reservation{40'000, 100'000}, {0, 1}, false, "none"}}, read_deadlines(*cgroups));
  CHECK(ledger.room_ppm(0) == 500'000);
  CHECK(ledger.room_ppm(1) == 200'001);
  CHECK(ledger.room_ppm(1, "/vm/a") == 600'001);
  CHECK(ledger.refusal("/vm/b", {30'000, 100'000}, {1}, {0, 1}) ==
        "CPU 1 is full: 30ms/100ms asked, at most 20ms/100ms fits beside SCHED_DEADLINE threads 29.9999 %, /vm/a 40 % (limit 90 %); "
        "room for it: CPUs 0");
}

TEST_CASE("CBS-6: the host's CPUs, cores and nodes") {
  FakeTree tree;
  tree.file("sys/devices/system/cpu/online", "0-2,5\n");
  tree.file("sys/devices/system/cpu/cpu0/topology/thread_siblings_list", "0,2\n");
  tree.file("sys/devices/system/cpu/cpu2/topology/thread_siblings_list", "0,2\n");
  tree.file("sys/devices/system/node/node0/cpulist", "0-2\n");
  tree.file("sys/devices/system/node/node1/cpulist", "5\n");
  tree.file("sys/devices/system/node/has_cpu", "0-1\n");
  const auto cpus = read_host_cpus(Roots::below(tree.root()));
  REQUIRE(cpus);
  REQUIRE(cpus->size() == 4);
  CHECK((*cpus)[2].core == 0);
  CHECK((*cpus)[1].core == 1);
  CHECK((*cpus)[3].id == 5);
  CHECK((*cpus)[3].node == 1);
}
