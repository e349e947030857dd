// SPDX-License-Identifier: GPL-2.0-only
#include <catch2/catch_test_macros.hpp>
#include <sys/xattr.h>

#include "fake_tree.hpp"
#include "settings.hpp"
#include "systemd.hpp"
#include "util/files.hpp"

using spare::CgroupTree;
using spare::Roots;

namespace {

CgroupTree open_tree(const FakeTree& tree) {
  auto opened = CgroupTree::open(Roots::below(tree.root()));
  REQUIRE(opened);
  return std::move(*opened);
}

void fake_vm(const FakeTree& tree, const std::string& path, const std::string& reservation) {
  const std::string dir = "sys/fs/cgroup" + path + "/";
  tree.file(dir + "cgroup.procs", "");
  tree.file(dir + "spare.reservation", reservation + "\n");
  tree.file(dir + "spare.cpus", "1\n");
  tree.file(dir + "spare.provide", "0\n");
  tree.file(dir + "spare.use", "none\n");
  tree.file(dir + "spare.netdev", "none\n");
  tree.file(dir + "spare.policy", "grant_us=2000 chances=0\n");
  tree.file(dir + "spare.stat", "used_ns 7\n");
  tree.file(dir + "spare.events", "boosted 1\n");
}

}  // namespace

TEST_CASE("a cgroup has one name, however it is written") {
  FakeTree tree;
  tree.good_machine();
  const CgroupTree cgroups = open_tree(tree);
  CHECK(*cgroups.normal_path("/vm/vm1") == "/vm/vm1");
  CHECK(*cgroups.normal_path("vm/vm1/") == "/vm/vm1");
  CHECK(*cgroups.normal_path((cgroups.mount() / "vm/vm1").string()) == "/vm/vm1");
  CHECK(*cgroups.normal_path(cgroups.mount().string() + "2/x") == cgroups.mount().string() + "2/x");
  CHECK(*cgroups.normal_path("/") == "/");
  CHECK_FALSE(cgroups.normal_path("/vm/../etc"));
  CHECK(cgroups.at("/vm/none").error().code == ENOENT);
}

TEST_CASE("cgroups below one: all of them, or so many") {
  FakeTree tree;
  for (const char* dir : {"a/b/c", "a/d", "a/e", "f"}) {
    std::filesystem::create_directories(tree.root() / "sys/fs/cgroup" / dir);
  }
  tree.good_machine();
  const auto cgroups = CgroupTree::open(Roots::below(tree.root()));
  REQUIRE(cgroups);
  CHECK(cgroups->below(cgroups->mount()).size() == 6);
  CHECK(cgroups->below(cgroups->mount() / "a").size() == 4);
  CHECK(cgroups->below(cgroups->mount(), 3).size() == 3);
}

TEST_CASE("no cgroup v2, no tree") {
  FakeTree tree;
  tree.file("proc/self/mountinfo", "30 23 0:26 / /sys/fs/cgroup rw - cgroup cgroup rw,cpu\n");
  CHECK(CgroupTree::open(Roots::below(tree.root())).error().text == "cgroup v2 is not mounted");
}

TEST_CASE("what the files say") {
  FakeTree tree;
  tree.good_machine();
  fake_vm(tree, "/vm/vm1", "40000 100000");
  fake_vm(tree, "/vm/vm2", "max");
  tree.file("sys/fs/cgroup/vm/vm1/spare.use", "/pool/p0 /pool/p1\n");
  const CgroupTree cgroups = open_tree(tree);
  CHECK(*cgroups.with_reservation() == std::vector<std::string>{"/vm/vm1"});
  const auto vm = spare::read_vm(*cgroups.at("/vm/vm1"));
  REQUIRE(vm);
  CHECK(vm->reservation == spare::Reservation{40000, 100000});
  CHECK(vm->cpus == "1");
  CHECK_FALSE(vm->provider);
  CHECK(vm->use == std::vector<std::string>{"/pool/p0", "/pool/p1"});
  CHECK(vm->netdev.empty());
  CHECK(vm->stat.number("used_ns") == 7);
  CHECK_FALSE(spare::read_vm(*cgroups.at("/vm/vm2"))->reservation);
}

TEST_CASE("a module that is not loaded is named") {
  FakeTree tree;
  tree.good_machine();
  tree.file("sys/fs/cgroup/vm/vm1/cgroup.procs", "");
  const CgroupTree cgroups = open_tree(tree);
  const auto vm = spare::read_vm(*cgroups.at("/vm/vm1"));
  REQUIRE_FALSE(vm);
  CHECK(vm.error().text.find("is sched_spare.ko loaded") != std::string::npos);
}

TEST_CASE("several settings: all or none") {
  FakeTree tree;
  tree.good_machine();
  fake_vm(tree, "/vm/vm1", "40000 100000");
  const CgroupTree cgroups = open_tree(tree);
  const auto cgroup = cgroups.at("/vm/vm1");
  REQUIRE(cgroup);
  REQUIRE(spare::apply(*cgroup, {{spare::file::reservation, "4000 10000"}, {spare::file::cpus, "2"}}));
  CHECK(tree.text("sys/fs/cgroup/vm/vm1/spare.reservation") == "4000 10000");
  CHECK(tree.text("sys/fs/cgroup/vm/vm1/spare.cpus") == "2");

  std::filesystem::remove(tree.root() / "sys/fs/cgroup/vm/vm1/spare.use");
  const auto applied = spare::apply(
      *cgroup, {{spare::file::reservation, "1000 10000"}, {spare::file::cpus, "3"}, {spare::file::use, "/pool/p0"}});
  CHECK_FALSE(applied);
  CHECK(tree.text("sys/fs/cgroup/vm/vm1/spare.reservation") == "4000 10000");
  CHECK(tree.text("sys/fs/cgroup/vm/vm1/spare.cpus") == "2");
}

TEST_CASE("cgroups are removed with those below") {
  FakeTree tree;
  tree.good_machine();
  const CgroupTree cgroups = open_tree(tree);
  std::filesystem::create_directories(cgroups.mount() / "vm1/a/b");
  REQUIRE(cgroups.remove("/vm1"));
  CHECK_FALSE(std::filesystem::exists(cgroups.mount() / "vm1"));
  CHECK(cgroups.remove("/vm1"));
  CHECK_FALSE(cgroups.remove("/"));
}

TEST_CASE("a cgroup is made with the controllers that it lacks") {
  FakeTree tree;
  tree.good_machine();
  const CgroupTree cgroups = open_tree(tree);
  std::filesystem::create_directories(cgroups.mount() / "vm");
  tree.file("sys/fs/cgroup/cgroup.subtree_control", "cpu memory\n");
  tree.file("sys/fs/cgroup/vm/cgroup.subtree_control", "cpuset cpu io\n");
  REQUIRE(cgroups.make("/vm/vm1"));
  CHECK(tree.text("sys/fs/cgroup/cgroup.subtree_control") == "+io +cpuset");
  CHECK(tree.text("sys/fs/cgroup/vm/cgroup.subtree_control") == "cpuset cpu io\n");
  CHECK(cgroups.make("/").error().code == EEXIST);
}

TEST_CASE("what is systemd's on the way to a cgroup") {
  FakeTree tree;
  tree.good_machine();
  const auto part = [&](const std::string& path) { return spare::systemd_part(tree.root() / "sys/fs/cgroup", spare::split(path, "/")); };
  CHECK(part("/vm/vm1").slices == 0);
  CHECK(part("/machine.slice").slices == 0);
  CHECK(part("/machine.slice/vm1").slices == 1);
  CHECK(part("/machine.slice/machine-a.slice/vm1/below").slices == 2);
  CHECK(part("/vm/odd.slice/vm1").slices == 0);
  CHECK_FALSE(part("/machine.slice/vm1/below").closed);
  CHECK(part("/machine.slice/a.scope").slices == 1);
  CHECK(part("/machine.slice/a.scope/libvirt").closed);
  CHECK(part("/init.scope/x").closed);
  using Unit = std::optional<std::string>;
  const auto unit = [&](const std::string& path) { return spare::systemds_unit(tree.root() / "sys/fs/cgroup", spare::split(path, "/")); };
  CHECK(unit("/machine.slice") == Unit("machine.slice"));
  CHECK(unit("/machine.slice/a.scope") == Unit("a.scope"));
  CHECK(unit("/_cgroup.service") == Unit("cgroup.service"));
  CHECK(unit("/machine.slice/vm1") == std::nullopt);
  CHECK(unit("/machine.slice/a.scope/libvirt") == std::nullopt);
  CHECK(unit("/machine.slice/a.scope/odd.slice") == std::nullopt);
  CHECK(unit("/vm/odd.slice") == std::nullopt);
  const auto delegated = tree.root() / "sys/fs/cgroup/machine.slice/d.scope";
  std::filesystem::create_directories(delegated);
  if (::setxattr(delegated.c_str(), "user.delegate", "1", 1, 0) == 0) {  // (not every file system has them)
    CHECK_FALSE(part("/machine.slice/d.scope/libvirt").closed);
  }
  CHECK(unit("/machine.slice/d.scope") == Unit("d.scope"));
  CHECK(unit("/machine.slice/d.scope/libvirt") == std::nullopt);
  CHECK(spare::controllers_unit("-.slice") == "spare.slice");
  CHECK(spare::controllers_unit("machine.slice") == "machine-spare.slice");
}

TEST_CASE("systemd writes its own files") {
  FakeTree tree;
  tree.good_machine();
  tree.file("proc/1/comm", "systemd\n");
  const CgroupTree cgroups = open_tree(tree);
  tree.file("sys/fs/cgroup/machine.slice/cgroup.subtree_control", "cpuset cpu io\n");
  REQUIRE(cgroups.make("/machine.slice/vm1"));
  CHECK(tree.text("sys/fs/cgroup/machine.slice/cgroup.subtree_control") == "cpuset cpu io\n");
  CHECK(cgroups.make("/machine.slice/new.scope").error().code == ENOENT);
  std::filesystem::create_directories(cgroups.mount() / "machine.slice/a.scope");
  REQUIRE(cgroups.make("/machine.slice/a.scope"));
  CHECK(cgroups.make("/machine.slice/a.scope/below").error().code == EPERM);
}
