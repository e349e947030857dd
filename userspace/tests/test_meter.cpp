// SPDX-License-Identifier: GPL-2.0-only
#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "fake_tree.hpp"
#include "meter/print.hpp"
#include "meter/proc.hpp"

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
  CHECK(spare::processes_with_guests(roots) == std::vector<pid_t>{3});
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
