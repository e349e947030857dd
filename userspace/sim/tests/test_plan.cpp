// SPDX-License-Identifier: GPL-2.0-only
//
// sparectl plan and plan fit: what they take, what they refuse and in which words.
#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>
#include <cstdio>
#include <fstream>
#include <numeric>

#include "plan_print.hpp"
#include "sim/fit.hpp"

using namespace spare::sim;

namespace sparectl {
// None of these cases gets as far as that.
void print(const Plan&, const Question&, const PlanOptions&) { FAIL("a plan is printed"); }
void print(const Report&, bool) { FAIL("a fit is printed"); }
}  // namespace sparectl

TEST_CASE("CBS-6: VMs are placed where most room is left, each vCPU on a CPU of its own, and never above the limit") {
  const std::vector<FitVm> vms = {{{10000, 100000}, 1}, {{40000, 100000}, 2}, {{40000, 100000}, 2}, {{50000, 100000}, 1}};
  const Fit all = fit(vms, {plain_cpus(3), 900000, 0});
  CHECK(all.all());
  CHECK(all.cpus[3] == std::vector<unsigned>{0});  // the largest first
  CHECK(all.cpus[1] == std::vector<unsigned>{1, 2});
  CHECK(all.cpus[0].size() == 1);
  const std::uint32_t sum = std::accumulate(all.used_ppm.begin(), all.used_ppm.end(), 0U);
  CHECK(sum == 100000 + 4 * 400000 + 500000);
  CHECK(*std::max_element(all.used_ppm.begin(), all.used_ppm.end()) <= 900000);

  const Fit some = fit(vms, {plain_cpus(2), 900000, 100000});
  CHECK_FALSE(some.all());
  CHECK(some.cpus[2].empty());
  CHECK_FALSE(some.cpus[0].empty());  // a smaller one still finds its place
  CHECK(fit({{{10000, 100000}, 3}}, {plain_cpus(2), 900000, 0}).cpus[0].empty());
}

TEST_CASE("CBS-6: a plan places as spared does: on one node, on cores of its own") {
  // Two nodes of two cores with two threads each, numbered otherwise than from 0.
  FitHost host{{{4, 4, 0}, {5, 4, 0}, {6, 6, 0}, {7, 6, 0}, {8, 8, 1}, {9, 8, 1}, {10, 10, 1}, {11, 10, 1}}, 900000, 0};
  const Fit two = fit({{{40000, 100000}, 2}, {{30000, 100000}, 2}}, host);
  CHECK(two.cpus[0] == spare::Cpus{4, 6});
  CHECK(two.cpus[1] == spare::Cpus{8, 10});  // whole cores are idle there
  CHECK(two.used_ppm[4] == 300000);
  CHECK(two.servers == std::vector<unsigned>{1, 0, 1, 0, 1, 0, 1, 0});
}

TEST_CASE("SPARE-5: plan refuses in words what it cannot answer") {
  struct Case {
    const char* what;
    void (*change)(sparectl::PlanOptions&);
    const char* says;
  };
  const Case wrong = GENERATE(
      Case{"no VMs", [](sparectl::PlanOptions& o) { o.vms = 0; }, "--vms, --vm and --spare are needed"},
      Case{"no packets", [](sparectl::PlanOptions& o) { o.rate_hz = 0; }, "which packets?"},
      Case{"no reservation", [](sparectl::PlanOptions& o) { o.vm = "max"; }, "--vm: 'max' is no reservation"},
      Case{"a period too long", [](sparectl::PlanOptions& o) { o.spare = "1ms/2s"; }, "--spare: '1ms/2s': the period must lie"},
      Case{"a share above 1", [](sparectl::PlanOptions& o) { o.target = "1.5"; }, "--target: '1.5' is not a share"},
      Case{"a share of 0", [](sparectl::PlanOptions& o) { o.target = "0%"; }, "--target: '0%' is not a share"},
      Case{"no grant", [](sparectl::PlanOptions& o) { o.grant = "0"; }, "--grant: it must be more than 0"},
      Case{"no time", [](sparectl::PlanOptions& o) { o.packet = "fast"; }, "--packet: 'fast' is not a duration"},
      Case{"no file", [](sparectl::PlanOptions& o) { o.packets = "/nonexistent"; }, "/nonexistent: No such file"});
  INFO(wrong.what);
  sparectl::PlanOptions options;
  options.vms = 4;
  options.vm = "5ms/100ms";
  options.spare = "1ms/10ms";
  options.rate_hz = 1;
  wrong.change(options);
  const auto done = sparectl::plan(options);
  REQUIRE_FALSE(done);
  CHECK(done.error().text.starts_with(wrong.says));
}

TEST_CASE("CBS-6: plan fit refuses in words what is no kind of VM") {
  struct Case {
    const char* vm;
    const char* says;
  };
  const Case wrong = GENERATE(
      Case{"40ms", "--vm: '40ms' is not a reservation"}, Case{"40ms/100msx0", "--vm: '40ms/100msx0': '0' is not a number"},
      Case{"40ms/100ms*", "--vm: '40ms/100ms*': '' is not a number"}, Case{"max", "--vm: 'max' is no reservation"},
      Case{"40ms/100msx2x3", "--vm: '40ms/100msx2x3': '2x3' is not"}, Case{"1ms/1s", "--vm: '1ms/1s': the runtime must be"});
  INFO(wrong.vm);
  sparectl::FitOptions options;
  options.vms = {wrong.vm};
  options.cpus = 2;
  const auto done = sparectl::plan_fit({}, options);
  REQUIRE_FALSE(done);
  CHECK(done.error().text.starts_with(wrong.says));
}

TEST_CASE("CBS-6: plan fit reads kinds from a file and names the line that is wrong") {
  const std::string path = std::tmpnam(nullptr);
  std::ofstream(path) << "# two kinds\n40ms/100ms x\n";
  sparectl::FitOptions options;
  options.file = path;
  options.cpus = 1;
  CHECK(sparectl::plan_fit({}, options).error().text.starts_with(path + ":2: "));
  std::ofstream(path) << "# none\n\n";
  CHECK(sparectl::plan_fit({}, options).error().text.starts_with("no VMs"));
  std::remove(path.c_str());
  options.file.clear();
  options.vms = {"10ms/100ms"};
  options.pool = "5ms/10msx2";
  CHECK(sparectl::plan_fit({}, options).error().text.starts_with("--pool: it takes 100.00 %"));
}
