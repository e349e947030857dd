// SPDX-License-Identifier: GPL-2.0-only
#include <catch2/catch_test_macros.hpp>
#include <filesystem>
#include <string>

#include "fake_tree.hpp"
#include "top/reader.hpp"

using sparectl::top::Counter;

namespace {

// A host with one VM, process 7 in /vm/a.
class OneVm {
 public:
  OneVm() {
    tree.good_machine();
    const auto fds = tree.root() / "proc/7/fd";
    std::filesystem::create_directories(fds);
    std::filesystem::create_symlink("anon_inode:kvm-vm", fds / "9");
    tree.file("proc/7/cgroup", "0::/vm/a\n");
    tree.file("sys/fs/cgroup/vm/a/cgroup.threads", "7\n");
    tree.file("sys/fs/cgroup/vm/a/cgroup.procs", "7\n");
    tree.file("sys/fs/cgroup/vm/a/cpu.stat", "usage_usec 9\n");
    tree.file("sys/fs/cgroup/vm/a/spare.stat", "used_ns 5\n");
    reserve("40000 100000");
    ran(1000);
  }
  void reserve(const std::string& text) const { tree.file("sys/fs/cgroup/vm/a/spare.reservation", text + "\n"); }
  void ran(std::uint64_t ns) const { tree.file("proc/7/schedstat", std::to_string(ns) + " 0 1\n"); }

  FakeTree tree;
};

}  // namespace

TEST_CASE("top: a reservation that was taken away while its guest runs is no longer shown") {
  const OneVm host;
  auto reader = sparectl::top::Reader::open(spare::Roots::below(host.tree.root()));
  REQUIRE(reader);
  const auto reserved = reader->read();
  REQUIRE(reserved.vms.size() == 1);
  CHECK(reserved.vms[0].runtime_us == 40000);
  host.reserve("max");
  const auto sample = reader->read();
  REQUIRE(sample.vms.size() == 1);
  CHECK(sample.vms[0].path == "/vm/a");
  CHECK(sample.vms[0].runtime_us == 0);
  CHECK(sample.vms[0].values.get(Counter::used_ns) == 9000U);
}

TEST_CASE("top: a thread that has another's number takes nothing from its VM's sum") {
  const OneVm host;
  auto reader = sparectl::top::Reader::open(spare::Roots::below(host.tree.root()));
  REQUIRE(reader);
  const auto run_ns = [&] { return reader->read().vms.at(0).values.get(Counter::run_ns); };
  run_ns();
  run_ns();
  host.ran(4000);
  CHECK(run_ns() == 3000U);
  host.ran(500);
  CHECK(run_ns() == 3000U);
  host.ran(700);
  CHECK(run_ns() == 3200U);
}
