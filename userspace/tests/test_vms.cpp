// SPDX-License-Identifier: GPL-2.0-only
#include <bpf/bpf.h>
#include <sys/stat.h>
#include <unistd.h>

#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "fake_maps.hpp"
#include "fake_tree.hpp"
#include "meter/kinds.hpp"
#include "meter/vms.hpp"
#include "util/taps.hpp"

namespace {

struct MeteredTree : FakeTree {
  MeteredTree() {
    good_machine();
    for (const char* cgroup : {"/d", "/d/a", "/d/b"}) {
      file(std::string("sys/fs/cgroup") + cgroup + "/cgroup.procs", "");
    }
  }
};

// A host with a process that runs guests: this one.
struct MeteredHost {
  const pid_t process = ::getpid();
  MeteredTree tree;
  spare::Roots roots = spare::Roots::below(tree.root());
  spare::Vms::Maps maps{make_fake_map(4, 4), make_fake_map(8, 4), make_fake_map(sizeof(spare_meter_tap), 4), make_fake_map(4, 4)};
  spare::Vms vms{roots, *spare::CgroupTree::open(roots), maps};

  void put(const std::string& cgroup) const { tree.file("proc/" + std::to_string(process) + "/cgroup", "0::" + cgroup + "\n"); }
  void bind(const std::string& cgroup, const std::string& taps) const { tree.file("sys/fs/cgroup" + cgroup + "/spare.netdev", taps + "\n"); }
  void tap(const std::string& name, int ifindex) const {
    tree.file("sys/class/net/" + name + "/ifindex", std::to_string(ifindex) + "\n");
    tree.file("sys/class/net/" + name + "/tun_flags", "0x1002\n");
  }
  void look() {
    vms.look(true);
    while (vms.look_for_taps()) {
    }
  }
  [[nodiscard]] std::uint64_t id_of(const std::string& cgroup) const {
    struct stat dir {};
    return ::stat((tree.root().string() + "/sys/fs/cgroup" + cgroup).c_str(), &dir) == 0 ? dir.st_ino : 0;
  }
  // The cgroup that pays for what is known by this number; 0: none.
  [[nodiscard]] std::uint64_t payer_of(int map, const void* key) const {
    std::uint32_t slot = 0;
    const auto payers = vms.payers();
    const auto found = bpf_map_lookup_elem(map, key, &slot) == 0 ? payers.find(slot) : payers.end();
    return found == payers.end() ? 0 : found->second;
  }
  [[nodiscard]] std::uint64_t payer_of_process() const { return payer_of(maps.processes, &process); }
  [[nodiscard]] std::uint64_t payer_of_tap(std::uint32_t ifindex) const {
    const spare_meter_tap key{ifindex, spare::own_netns()};
    return payer_of(maps.taps, &key);
  }
};

}  // namespace

TEST_CASE("DEBT-1: the nearest cgroup with a reservation pays, and nobody where there is none") {
  MeteredHost host;
  host.put("/d/b");
  REQUIRE(host.vms.add_process(host.process));
  CHECK(host.vms.payers().empty());
  host.vms.set_reservations({"/d"});
  CHECK(host.payer_of_process() == host.id_of("/d"));
  host.vms.set_reservations({"/d", "/d/b"});
  CHECK(host.payer_of_process() == host.id_of("/d/b"));
  host.vms.set_reservations({});
  CHECK(host.vms.payers().empty());
}

TEST_CASE("DEBT-1: what spare.netdev has is its cgroup's, though no process shows it") {
  MeteredHost host;
  host.tap("tap0", 7);
  host.tap("tap1", 8);
  host.tree.file("sys/class/net/eth0/ifindex", "2\n");
  host.bind("/d/a", "tap0 eth0 gone0");
  host.put("/d/a");
  REQUIRE(host.vms.add_process(host.process));
  host.look();
  CHECK(host.payer_of_tap(7) == 0);  // it has no reservation
  host.vms.set_reservations({"/d/a"});
  while (host.vms.look_for_taps()) {
  }
  CHECK(host.payer_of_tap(7) == host.id_of("/d/a"));
  CHECK(host.payer_of_tap(2) == 0);  // no tap: a name of another network namespace
  host.look();
  CHECK(host.payer_of_tap(7) == host.id_of("/d/a"));
  host.bind("/d/a", "tap1");
  host.vms.set_reservations({"/d/a"});
  host.look();
  CHECK(host.payer_of_tap(7) == 0);
  CHECK(host.payer_of_tap(8) == host.id_of("/d/a"));
  host.vms.set_reservations({});
  host.look();
  CHECK(host.payer_of_tap(8) == 0);
}

TEST_CASE("DEBT-1: a process that moves into a cgroup with a reservation is paid for there") {
  MeteredHost host;
  const auto start = GENERATE(as<std::string>{}, "/d/b", "/d", "/user.slice/session-1.scope");
  host.put(start);
  REQUIRE(host.vms.add_process(host.process));
  host.vms.set_reservations({"/d/a"});
  host.vms.follow_moves();
  CHECK(host.payer_of_process() == 0);
  host.put("/d/a/emulator");
  host.vms.follow_moves();
  host.look();
  CHECK(host.payer_of_process() == host.id_of("/d/a"));
  const auto& all = host.vms.all();
  CHECK(std::count_if(all.begin(), all.end(), [](const auto& vm) { return !vm.second.gone; }) == 1);
  host.put("/d/b");
  host.vms.follow_moves();
  CHECK(host.payer_of_process() == 0);
}

TEST_CASE("DEBT-1: a cgroup whose reservation cannot pay is named") {
  MeteredHost host;
  std::vector<std::string> paths;
  for (int i = 0; i < SPARE_METER_GONE; i++) {
    paths.push_back("/d/vm" + std::to_string(i));
    host.tree.file("sys/fs/cgroup" + paths.back() + "/cgroup.procs", "");
  }
  host.vms.set_reservations({"/d/none"});
  CHECK(host.vms.news().empty());
  host.vms.set_reservations(paths);
  const auto news = host.vms.news();
  CHECK(std::any_of(news.begin(), news.end(), [&](const auto& text) { return text.find("the reservation of " + paths.back() + " pays for no softirqs") != std::string::npos; }));
}
