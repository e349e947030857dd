// SPDX-License-Identifier: GPL-2.0-only
#include <cerrno>
#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>
#include <chrono>
#include <filesystem>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "../daemon/meter_keeper.hpp"
#include "fake_tree.hpp"
#include "meter/bill.hpp"
#include "meter/print.hpp"
#include "meter/proc.hpp"
#include "meter/scan.hpp"
#include "meter/table.hpp"

TEST_CASE("ACC-4: which cgroup is the VM of a process that runs guests") {
  struct Case {
    const char *cgroup, *vm;
  };
  FakeTree tree;
  tree.file("cg/threads/cgroup.type", "domain threaded\n");
  tree.file("cg/threads/io/cgroup.type", "threaded\n");
  const auto [cgroup, vm] = GENERATE(
      Case{"/machine.slice/machine-qemu\\x2d1\\x2dvm1.scope/libvirt/emulator", "/machine.slice/machine-qemu\\x2d1\\x2dvm1.scope"},
      Case{"/machine.slice/machine-qemu\\x2d1\\x2dvm1.scope", "/machine.slice/machine-qemu\\x2d1\\x2dvm1.scope"}, Case{"/vm/a", "/vm/a"},
      Case{"/machine.slice/machine-x.service", "/machine.slice/machine-x.service"}, Case{"/threads/io", "/threads"}, Case{"/", ""},
      Case{"/user.slice/user-0.slice/session-3.scope", ""}, Case{"/system.slice/docker-1f.scope", "/system.slice/docker-1f.scope"}, Case{"", ""});
  INFO(cgroup);
  CHECK(spare::vm_cgroup((tree.root() / "cg").string(), cgroup) == vm);
}

TEST_CASE("ACC-4: a cgroup of 32 levels is too deep to be a VM") {
  std::string cgroup;
  for (int level = 1; level < 32; level++) {
    cgroup += "/d";
    CHECK_FALSE(spare::is_too_deep(cgroup));
  }
  CHECK(spare::is_too_deep(cgroup + "/d"));
}

TEST_CASE("ACC-4: the cgroup of a process, and how its guest is called") {
  FakeTree tree;
  const auto roots = spare::Roots::below(tree.root());
  tree.file("proc/7/cgroup", "12:cpu:/old\n0::/vm/a b\n");
  tree.file("proc/7/cmdline", std::string("qemu\0-name\0guest=web\x01,debug-threads=on\0-m\0" "1G\0", 43));
  tree.file("proc/8/cmdline", std::string("firecracker\0--id\0f1\0", 20));
  tree.file("proc/9/cmdline", std::string("qemu\0-name\0", 11));
  CHECK(spare::cgroup_of(roots, 7) == "/vm/a b");
  CHECK(spare::cgroup_of(roots, 8).empty());
  CHECK(spare::guest_name(roots, 7) == "web\\x01");
  CHECK(spare::guest_name(roots, 8) == "f1");
  CHECK(spare::guest_name(roots, 9).empty());
  tree.file("proc/11/cmdline", std::string("qemu\0-name\0x\n<2>kernel: BUG\0", 29));
  CHECK(spare::guest_name(roots, 11) == "x\\x0a<2>kernel: BUG");
  tree.file("proc/12/cmdline", std::string("qemu\0-name\0", 11) + std::string(65530, '\xff'));
  CHECK(spare::guest_name(roots, 12).size() == 4 * 128 + 3);
  CHECK(spare::guest_name(roots, 10).empty());
}

TEST_CASE("ACC-4: who runs guests is told by what it holds, not by what that is called") {
  FakeTree tree;
  const auto roots = spare::Roots::below(tree.root());
  const std::vector<std::pair<std::string, std::string>> holds = {
      {"3", "anon_inode:kvm-vm"}, {"4", "/dev/vhost-by-name-alone"}, {"5", "/dev/null"}, {"x", "anon_inode:kvm-vm"}};
  for (const auto& [process, target] : holds) {
    const auto dir = tree.root() / "proc" / process / "fd";
    std::filesystem::create_directories(dir);
    std::filesystem::create_symlink(target, dir / "9");
  }
  spare::GuestScan scan(roots);
  std::vector<pid_t> found;
  while (!scan.done()) {
    const auto more = scan.next(1);
    found.insert(found.end(), more.begin(), more.end());
  }
  CHECK(found == std::vector<pid_t>{3});
}

TEST_CASE("a process with very many files does not hide who comes after it, and no turn looks at more than it may") {
  constexpr unsigned processes = 20, files = 300;
  FakeTree tree;
  const auto roots = spare::Roots::below(tree.root());
  for (unsigned process = 1; process <= processes; process++) {
    const auto dir = tree.root() / "proc" / std::to_string(process) / "fd";
    std::filesystem::create_directories(dir);
    for (unsigned fd = 0; fd < (process % 2 == 0 ? files : 1); fd++) {
      std::filesystem::create_symlink(process % 2 == 0 ? "/dev/null" : "anon_inode:kvm-vm", dir / std::to_string(fd));
    }
  }
  spare::GuestScan scan(roots);
  std::set<pid_t> found;
  unsigned turns = 0;
  for (; !scan.done(); turns++) {
    for (const pid_t process : scan.next(100)) {
      found.insert(process);
    }
  }
  CHECK(found.size() == processes / 2);
  CHECK(turns >= processes / 2 * files / 100);
}

TEST_CASE("when a process began is after a name with anything in it") {
  FakeTree tree;
  tree.file("proc/7/stat", "7 (a) R 1 2) S 1 7 7 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 12345 1 1 1\n");
  CHECK(spare::start_of(spare::Roots::below(tree.root()), 7) == 12345);
  CHECK(spare::start_of(spare::Roots::below(tree.root()), 8) == 0);
}

TEST_CASE("a meter that could not begin is tried again, and what is in its way is said once") {
  struct NoMeter : spare::Meter {
    spare::Result<spare::Reading> read() override { return spare::Error{}; }
  };
  const spare::Roots roots;
  int tried = 0;
  bool possible = false;
  spare::MeterKeeper keeper(roots, [&](const spare::Roots&, const spare::MeterStart& start) -> spare::Result<std::unique_ptr<spare::Meter>> {
    tried++;
    CHECK(start.pinned);
    return possible ? spare::Result<std::unique_ptr<spare::Meter>>(std::make_unique<NoMeter>()) : spare::Error{"no memory"};
  });
  const auto now = spare::MeterKeeper::Clock::now();
  keeper.turn(now + std::chrono::hours{1});
  CHECK(tried == 0);  // nobody wants one
  keeper.configure(true);
  keeper.turn(now);
  CHECK(tried == 1);
  possible = true;
  keeper.turn(now + std::chrono::minutes{2});
  CHECK(tried == 2);
  CHECK(keeper.read().error().code != ENOENT);  // there is one
  keeper.turn(now + std::chrono::minutes{4});
  CHECK(tried == 2);
}

TEST_CASE("the table of VMs keeps names of any bytes") {
  spare::MeterTable table;
  for (const char* name : {"/vm/a", "/vm/\xff", "/vm/\ufffd", "/vm/a\x1b\\xff", "/vm/gr\u00fc\u00df"}) {
    spare::TableVm vm;
    vm.vm.slot = 1;
    vm.vm.cgroup = name;
    vm.vm.taps = {{name + 4, 7, 1, false}};
    table.vms.push_back(vm);
  }
  const auto back = spare::MeterTable::parse(table.as_text());
  REQUIRE(back);
  REQUIRE(back->vms.size() == table.vms.size());
  for (std::size_t i = 0; i < table.vms.size(); i++) {
    CHECK(back->vms[i].vm.cgroup == table.vms[i].vm.cgroup);
    CHECK(back->vms[i].vm.taps == table.vms[i].vm.taps);
  }
  CHECK(table.as_text().find("\"cgroup\":\"/vm/a\"") != std::string::npos);  // for who reads it with something else
}

TEST_CASE("the table of VMs comes back as it was written, and what is none is refused") {
  spare::MeterTable table;
  table.epoch = 4000000000;
  table.generation = 18;
  table.next_id = 77;
  table.missing = {{"function f", "why", "part"}};
  spare::TableVm vm;
  vm.vm = {5, 3, "web", "/machine.slice/machine-qemu\\x2d1.scope", 991, false, {{12, 34}}, {{"tap0", 7, 4026531840, true}}};
  vm.named = true;
  table.vms = {vm};
  const auto back = spare::MeterTable::parse(table.as_text());
  REQUIRE(back);
  CHECK(back->as_text() == table.as_text());
  CHECK(back->vms.at(0).vm.processes == vm.vm.processes);
  CHECK(back->vms.at(0).vm.taps == vm.vm.taps);

  table.vms[0].vm.slot = 1023;
  CHECK_FALSE(spare::MeterTable::parse(table.as_text()));
  for (const char* text : {"", "{}", "[]", "{\"version\":2}", "{\"version\":1,\"epoch\":\"x\"}"}) {
    CHECK_FALSE(spare::MeterTable::parse(text));
  }
  vm.vm.cgroup = "/vm/\xff";
  table.vms = {vm};
  table.vms[0].vm.slot = 3;
  CHECK(spare::MeterTable::parse(table.as_text()));

  FakeTree tree;
  REQUIRE(table.write(tree.root() / "meter.json"));
  CHECK(spare::MeterTable::read(tree.root() / "meter.json")->next_id == 77);
  CHECK_FALSE(table.write(tree.root() / "none" / "meter.json"));
}

// Two CPUs, VMs that come, stay and go, CPUs that are seen late: counters against a bill that is kept by itself.
TEST_CASE("ACC-1: what lies between two readings adds up, whoever came and went") {
  std::mt19937 random(GENERATE(1U, 2U, 3U));
  const auto below = [&](unsigned n) { return std::uniform_int_distribution<unsigned>(0, n - 1)(random); };
  spare::Reading now;
  now.epoch = 9;
  now.cpus = {{0, true, true, 0, {}, {}}};
  std::uint64_t next_id = 1;
  for (int round = 0; round < 200; round++) {
    const spare::Reading before = now;
    std::map<std::uint64_t, std::uint64_t> truth;
    std::uint64_t vms_ns = 0;
    if (round == 50) {
      now.cpus.push_back({4, true, true, 0, {}, {}});
      for (auto& vm : now.vms) {
        vm.of_cpu.emplace_back();
      }
    }
    now.monotonic_ns += 1000;
    for (unsigned i = below(4); i > 0; i--) {
      now.vms.push_back({{next_id++, 1, "", "", 0, false, {}, {}}, std::vector<spare::BillRow>(now.cpus.size())});
    }
    for (size_t cpu = 0; cpu < now.cpus.size(); cpu++) {
      for (auto& vm : now.vms) {
        const unsigned ns = below(100);
        vm.of_cpu[cpu].ns[below(spare::bill_kinds)] += ns;
        vm.of_cpu[cpu].packets[1] += ns;
        vm.of_cpu[cpu].batches[1] += ns * 100000000U;  // it wraps
        truth[vm.vm.id] += ns;
        now.cpus[cpu].elapsed_ns += ns;
        vms_ns += ns;
      }
      const unsigned ns = below(100);
      now.cpus[cpu].host.ns[2] += ns;
      now.cpus[cpu].elapsed_ns += ns;
    }
    std::erase_if(now.vms, [&](const spare::VmReading& vm) {
      const bool ends = below(3) == 0;
      for (size_t cpu = 0; ends && cpu < now.cpus.size(); cpu++) {
        for (size_t kind = 0; kind < spare::bill_kinds; kind++) {
          now.cpus[cpu].gone.ns[kind] += vm.of_cpu[cpu].ns[kind];
        }
        now.cpus[cpu].gone.packets[1] += vm.of_cpu[cpu].packets[1];
      }
      return ends;
    });
    const spare::Bill bill = spare::between(before, now);
    std::uint64_t billed = 0, all = spare::total(bill.gone);
    for (const auto& cpu : bill.cpus) {
      CHECK(cpu.error_ns() == 0);
      billed += cpu.vms_ns;
    }
    CHECK(billed == vms_ns);
    for (const auto& vm : bill.vms) {
      CHECK(spare::total(vm.sum) == truth[vm.vm.id]);
      CHECK(vm.sum.packets[1] == truth[vm.vm.id]);
      CHECK(vm.sum.batches[1] == static_cast<std::uint32_t>(truth[vm.vm.id] * 100000000U));
      all += spare::total(vm.sum);
    }
    CHECK(all == vms_ns);
    CHECK(bill.interval_ns == 1000);
  }
  spare::Reading other = now;
  other.epoch = 10;
  CHECK(spare::between(now, other).cpus.at(0).elapsed_ns == other.cpus.at(0).elapsed_ns);
}

TEST_CASE("ACC-1: what does not add up is shown") {
  spare::Bill bill;
  spare::CpuBill cpu{3, false, 1000, 400, {}};
  cpu.host.ns[0] = 590;
  bill.cpus.push_back(cpu);
  CHECK(cpu.error_ns() == -10);
  CHECK(spare::as_table(bill).find("-10000 (read while it changed)") != std::string::npos);
  CHECK(spare::as_json(bill, {{"function f", "why", "part"}}).find(R"("error_ns":-10,"steady":false)") != std::string::npos);
  CHECK(spare::as_json(bill, {{"function f", "why", "part"}}).ends_with("\"missing\":[{\"point\":\"function f\",\"why\":\"why\",\"part\":\"part\"}]}\n"));
}
