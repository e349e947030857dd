// SPDX-License-Identifier: GPL-2.0-only
#include <catch2/catch_approx.hpp>
#include <catch2/catch_test_macros.hpp>
#include <fstream>
#include <set>
#include <sstream>

#include "top/columns.hpp"
#include "top/panels.hpp"
#include "top_samples.hpp"

using Catch::Approx;
using top::Counter;
using top::Subject;

namespace {

// A column of the only VM, over one second.
std::optional<double> number(const char* id, const top::Interval& interval, Subject subject = Subject::vm) {
  const top::View& view = *top::find_view(subject == Subject::vm ? "vm" : subject == Subject::pool ? "pool" : "cpu");
  const auto rows = top::rows_of(view, interval, interval);
  const top::Value value = top::find_column(id, subject)->value(rows.at(0));
  return std::holds_alternative<double>(value) ? std::optional(std::get<double>(value)) : std::nullopt;
}

std::string text(const char* id, const top::Interval& interval) {
  const top::Value value = top::find_column(id, Subject::vm)->value(top::rows_of(*top::find_view("vm"), interval, interval).at(0));
  return std::holds_alternative<std::string>(value) ? std::get<std::string>(value) : "";
}

std::string man_page() {
  std::stringstream text;
  text << std::ifstream(MAN_PAGE).rdbuf();
  return text.str();
}

}  // namespace

TEST_CASE("ACC-5: columns have ids of their own, views have columns, and the first one takes what is left") {
  std::set<std::pair<Subject, std::string>> ids;
  for (const top::Column& column : top::all_columns()) {
    CHECK(ids.emplace(column.subject, column.id).second);
    CHECK((column.width == 0 || column.width >= std::string(column.title).size()));
    CHECK(column.bad >= column.warn);
  }
  std::set<char> keys;
  for (const top::View& view : top::all_views()) {
    INFO(view.id);
    CHECK(keys.insert(view.key).second);
    for (const auto id : view.columns) {
      INFO(id);
      CHECK(top::find_column(id, view.subject) != nullptr);
    }
    CHECK(top::find_column(view.sorted_by, view.subject) != nullptr);
  }
}

TEST_CASE("ACC-5: the manual has every column, view and key, in these words") {
  const std::string page = man_page();
  for (const top::Column& column : top::all_columns()) {
    const std::string entry = std::string(".It Sy ") + column.title + " Pq " + column.id + "\n" + column.help + "\n";
    INFO(entry);
    CHECK(page.find(entry) != std::string::npos);
  }
  for (const top::View& view : top::all_views()) {
    INFO(view.id);
    CHECK(page.find(std::string(".It Cm ") + view.id + " Pq key " + view.key + "\n" + view.title) != std::string::npos);
  }
  for (const auto& [key, what] : top::all_keys()) {
    INFO(key);
    CHECK(page.find(std::string(".It Sy ") + key + "\n" + what + "\n") != std::string::npos);
  }
}

TEST_CASE("ACC-5: what XenMon showed: gotten, allocated, blocked, waited, executions, I/O count; also per period") {
  const auto interval = second_of({vm_of("/vm/a", {{Counter::used_ns, 300000000}, {Counter::boost_ns, 50000000}, {Counter::wait_ns, 250000000}, {Counter::runs, 20},
                                                   {Counter::run_ns, 350000000}, {Counter::rx_packets, 30}, {Counter::tx_packets, 10}, {Counter::periods, 10}})});
  CHECK(number("used_pct", interval) == Approx(35));
  CHECK(number("alloc_pct", interval) == Approx(40));
  CHECK(number("blocked_pct", interval) == Approx(40));
  CHECK(number("rdy_pct", interval) == Approx(25));
  CHECK(number("exec_ps", interval) == Approx(20));
  CHECK(number("io_ps", interval) == Approx(40));
  CHECK(number("used_period_ms", interval) == Approx(35));
  CHECK(number("rdy_period_ms", interval) == Approx(25));
  CHECK(number("exec_period", interval) == Approx(2));
  CHECK(number("io_period", interval) == Approx(4));
  CHECK(number("exec_us", interval) == Approx(17500));
  CHECK(number("wait_exec_us", interval) == Approx(12500));
  CHECK(number("used_10s_pct", interval) == Approx(35));
  CHECK_FALSE(number("bill_pct", interval));
}

TEST_CASE("ACC-5: two servers are two allocations; a cap is one") {
  auto vm = vm_of("/vm/a", {{Counter::nr_servers, 2}});
  CHECK(number("alloc_pct", second_of({vm})) == Approx(80));
  vm.capped = true;
  CHECK(number("alloc_pct", second_of({vm})) == Approx(40));
  CHECK(text("state", second_of({vm})) == "cap");
  vm.capped = false;
  vm.servers = {{0, top::ServerState::inactive, false, 0, 0, 0}, {1, top::ServerState::throttled, false, 0, 0, 0}};
  CHECK(text("state", second_of({vm})) == "thr");
  vm.values.set(Counter::placed, 0);
  CHECK(text("state", second_of({vm})) == "unplaced");
}

TEST_CASE("SPARE-5: a pool's row sums its providers, and says what Erlang expects") {
  std::vector<top::VmSample> vms;
  for (const char* path : {"/pool/p0", "/pool/p1"}) {
    auto provider = vm_of(path, {{Counter::lent_ns, 20000000}, {Counter::granted, 10}, {Counter::blocked, 5}});
    provider.runtime_us = 4000;
    provider.period_us = 40000;
    provider.provider = true;
    provider.servers = {{1, top::ServerState::ready, path[7] == '0', 0, 0, 0}};
    vms.push_back(provider);
  }
  auto member = vm_of("/vm/a", {{Counter::denied, 3}}), other = vm_of("/vm/b", {{Counter::denied, 100}});
  member.use = "/pool";
  vms.push_back(member);
  vms.push_back(other);
  const auto interval = second_of(vms);
  const auto pools = top::pools_in(interval);
  REQUIRE(pools.size() == 1);
  CHECK(pools[0].free == 1);
  CHECK(pools[0].members == 1);
  CHECK(pools[0].most_on_a_cpu == 2);
  CHECK(pools[0].lent_share() == Approx(0.2));
  CHECK(pools[0].seen_blocking() == Approx(10.0 / 30));
  CHECK(number("deny_ps", interval, Subject::pool) == Approx(3));
  // 0.4 erlangs offered to two: B = (A^2/2) / (1 + A + A^2/2)
  CHECK(pools[0].expected_blocking() == Approx(0.08 / 1.48));
  CHECK(pools[0].size_for(0.01) == 3U);
}

TEST_CASE("ACC-1: CPUs: the meter's account where there is one, else /proc/stat's") {
  auto before = sample_of(0, {}), now = sample_of(1, {});
  before.cpus.resize(1);
  now.cpus.resize(1);
  const auto set = [&](top::CpuCounter counter, std::uint64_t value) {
    before.cpus[0].values.set(counter, 0);
    now.cpus[0].values.set(counter, value);
  };
  set(top::CpuCounter::stat_guest, 300);
  set(top::CpuCounter::stat_idle, 700);
  CHECK(number("vms_pct", {shared(before), shared(now)}, Subject::cpu) == Approx(30));
  CHECK(number("idle_pct", {shared(before), shared(now)}, Subject::cpu) == Approx(70));
  set(top::CpuCounter::bill_elapsed, 1000);
  set(top::CpuCounter::bill_vms, 200);
  set(top::CpuCounter::bill_idle, 790);
  CHECK(number("vms_pct", {shared(before), shared(now)}, Subject::cpu) == Approx(20));
  CHECK(number("error_ppm", {shared(before), shared(now)}, Subject::cpu) == Approx(-10000));
}

TEST_CASE("top: rows are sorted by what is known, and filtered by name and path") {
  std::vector<top::VmSample> vms = {vm_of("/vm/a", {{Counter::used_ns, 1000000}}), vm_of("/vm/B", {{Counter::used_ns, 3000000}}), vm_of("/other/c"), vm_of("/vm/d", {{Counter::used_ns, 2000000}})};
  vms[3].name = "Web";
  const auto interval = second_of(vms);
  const top::View& view = *top::find_view("vm");
  auto rows = top::rows_of(view, interval, interval);
  const auto order = [&] {
    std::string all;
    for (const top::Row& row : rows) {
      all += row.vm.now->path + " ";
    }
    return all;
  };
  top::sort_rows(rows, *top::find_column("used_pct", Subject::vm), false);
  CHECK(order() == "/vm/B /vm/d /vm/a /other/c ");
  top::sort_rows(rows, *top::find_column("used_pct", Subject::vm), true);
  CHECK(order() == "/vm/a /vm/d /vm/B /other/c ");
  top::filter_rows(rows, Subject::vm, "WEB");
  CHECK(order() == "/vm/d ");
  rows = top::rows_of(view, interval, interval);
  top::filter_rows(rows, Subject::vm, "vm/");
  CHECK(rows.size() == 3);
}

TEST_CASE("top: numbers fit into their columns") {
  for (const double n : {0.0, 0.04, 9.96, 99.99, 100.0, 1234.5, 99999.0, 1e7, 1e12, 1e18, -3.2, 2.7e20}) {
    for (const auto unit : {top::Unit::percent, top::Unit::per_second, top::Unit::count, top::Unit::us, top::Unit::ms, top::Unit::ppm}) {
      INFO(n);
      CHECK(top::shown(n, unit, 6).size() <= 6);
    }
  }
  CHECK(top::shown(12.34, top::Unit::percent, 6) == "12.3");
  CHECK(top::shown(12.34, top::Unit::percent, 6, top::Shares::ms_per_s) == "123.4");
  CHECK(top::shown(1500.0, top::Unit::us, 7) == "1.5ms");
  CHECK(top::shown(1234567.0, top::Unit::count, 5) == "1235k");
  CHECK(top::shown(top::Value(), top::Unit::percent, 6) == "-");
}
