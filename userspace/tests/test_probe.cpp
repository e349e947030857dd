// SPDX-License-Identifier: GPL-2.0-only
#include <catch2/catch_test_macros.hpp>

#include "fake_btf.hpp"
#include "fake_tree.hpp"
#include "probe.hpp"

using spare::Finding;

namespace {

const spare::Needs needs = {{"scx_a___v2|scx_a", "outer.in.x"}, {}};

std::vector<Finding> probe(const FakeTree& tree) { return spare::probe(spare::Roots::below(tree.root()), needs, 1); }

// Is something missing whose text has these words?
bool missing(const std::vector<Finding>& findings, const std::string& words) {
  for (const Finding& finding : findings) {
    if (finding.kind == Finding::Kind::missing && finding.what.find(words) != std::string::npos) {
      CHECK_FALSE(finding.remedy.empty());
      return true;
    }
  }
  return false;
}

void good_machine(const FakeTree& tree) {
  tree.good_machine();
  write_fake_btf(tree.root() / "sys/kernel/btf/vmlinux", {{"scx_a", false}, {"scx_a_impl", true}});
}

}  // namespace

TEST_CASE("LIFE-5: a machine on which nothing is missing") {
  FakeTree tree;
  good_machine(tree);
  CHECK(spare::usable(probe(tree)));
  tree.file("sys/kernel/sched_ext/state", "enabled\n");
  tree.file("sys/kernel/sched_ext/root/ops", "sched_spare\n");
  CHECK(spare::usable(probe(tree)));
}

TEST_CASE("LIFE-5: each thing that can be missing is named") {
  FakeTree tree;
  good_machine(tree);
  SECTION("sched_ext") {
    std::filesystem::remove_all(tree.root() / "sys/kernel/sched_ext");
    CHECK(missing(probe(tree), "no sched_ext"));
  }
  SECTION("another scheduler") {
    tree.file("sys/kernel/sched_ext/state", "enabled\n");
    tree.file("sys/kernel/sched_ext/root/ops", "lavd\n");
    CHECK(missing(probe(tree), "another sched_ext scheduler runs: lavd"));
  }
  SECTION("the module") {
    std::filesystem::remove_all(tree.root() / "sys/module/sched_spare");
    CHECK(missing(probe(tree), "not loaded"));
  }
  SECTION("LIFE-6: the module's ABI") {
    tree.file("sys/module/sched_spare/parameters/abi", "9\n");
    CHECK(missing(probe(tree), "speaks ABI 9, spared ABI 1"));
  }
  SECTION("BTF") {
    std::filesystem::remove(tree.root() / "sys/kernel/btf/vmlinux");
    CHECK(missing(probe(tree), "type information"));
  }
  SECTION("a kfunc") {
    write_fake_btf(tree.root() / "sys/kernel/btf/vmlinux", {{"scx_b", false}});
    CHECK(missing(probe(tree), "the kernel lacks what the class needs: scx_a___v2|scx_a"));
  }
  SECTION("a kfunc's twin") {
    write_fake_btf(tree.root() / "sys/kernel/btf/vmlinux", {{"scx_a", true}});
    CHECK(missing(probe(tree), "broken for kfuncs that the class calls: scx_a___v2|scx_a"));
  }
  SECTION("a field") {
    const spare::Needs field = {{"outer.in.y"}, {}};
    CHECK(missing(spare::probe(spare::Roots::below(tree.root()), field, 1), "the kernel lacks what the class needs: outer.in.y"));
  }
  SECTION("cgroup v2") {
    tree.file("proc/self/mountinfo", "");
    CHECK(missing(probe(tree), "cgroup v2 is not mounted"));
  }
  SECTION("a controller") {
    tree.file("sys/fs/cgroup/cgroup.controllers", "cpu memory\n");
    CHECK(missing(probe(tree), "no io controller"));
  }
  SECTION("capabilities") {
    tree.file("proc/self/status", "CapEff:\t0000000000000000\n");
    CHECK(missing(probe(tree), "CAP_SYS_ADMIN CAP_SYS_NICE CAP_PERFMON CAP_BPF"));
  }
}
