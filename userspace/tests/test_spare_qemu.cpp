// SPDX-License-Identifier: GPL-2.0-only
#include <catch2/catch_test_macros.hpp>

#include <cstdlib>

#include "guest_taps.hpp"
#include "options.hpp"

using Words = std::vector<std::string>;

namespace {

spare_qemu::Parsed parse(Words words) {
  std::vector<char*> argv;
  for (std::string& word : words) {
    argv.push_back(word.data());
  }
  return spare_qemu::parse_options(static_cast<int>(argv.size()), argv.data());
}

}  // namespace

TEST_CASE("the wrapper's words before --, QEMU's after") {
  const auto parsed = parse({"spare-qemu", "--spare-reservation", "40ms/100ms", "--spare-cpus=1", "--spare-binary", "/q", "--", "-m", "4G",
                             "--spare-x"});
  REQUIRE_FALSE(parsed.exit);
  CHECK(parsed.options.reservation == "40ms/100ms");
  CHECK(parsed.options.cpus == "1");
  CHECK(parsed.options.binary == "/q");
  CHECK(parsed.options.qemu == Words{"-m", "4G", "--spare-x"});
  CHECK(parse({"spare-qemu", "-m", "4G"}).exit == 2);
  CHECK(parse({"spare-qemu", "--spare-nonsense", "1"}).exit == 2);
}

TEST_CASE("under QEMU's name everything else is QEMU's, and the environment speaks") {
  ::setenv("SPARE_RESERVATION", "3ms/9ms", 1);
  const auto parsed = parse({"/x/qemu-system-x86_64", "-m", "4G", "--spare-cpus", "2", "-name", "vm1", "--help"});
  ::unsetenv("SPARE_RESERVATION");
  REQUIRE_FALSE(parsed.exit);
  CHECK(parsed.options.reservation == "3ms/9ms");
  CHECK(parsed.options.cpus == "2");
  CHECK(parsed.options.qemu == Words{"-m", "4G", "-name", "vm1", "--help"});
}

TEST_CASE("what QEMU's arguments say") {
  using namespace spare_qemu;
  CHECK(guest_name({"-name", "vm1"}) == "vm1");
  CHECK(guest_name({"-name", "guest=vm1,debug-threads=on"}) == "vm1");
  CHECK(guest_name({"--name", "vm1,process=p"}) == "vm1");
  CHECK(guest_name({"-name", "debug-threads=on"}).empty());
  CHECK(guest_name({"-m", "1"}).empty());
  CHECK(tap_names({"-netdev", "tap,id=n,ifname=tap0,vhost=on", "-nic", "tap,ifname=tap1", "-netdev", "user,id=u", "-nic", "tap"}) ==
        Words{"tap0", "tap1"});
  CHECK(unseen_networks({"-netdev", "tap,id=n", "-nic", "user,model=virtio", "-netdev", "vhost-user,id=v,chardev=c", "-device", "vfio-pci,host=0",
                         "-device", "virtio-net-pci,netdev=n", "-nic", "none", "-netdev", "id=s,type=stream"}) ==
        std::set<std::string>{"stream", "user", "vfio-pci", "vhost-user"});
  CHECK(unseen_networks({"-netdev", "bridge,id=b", "-nic", "tap"}).empty());
  // As libvirt writes them.
  CHECK(unseen_networks({"-netdev", R"({"type":"user","id":"u"})", "-netdev", R"({"type":"tap","fd":"27","vhost":true,"id":"n"})", "-device",
                         R"({"driver":"vfio-pci","host":"0000:01:00.0","id":"h"})", "-device", R"({"driver":"virtio-net-pci","netdev":"n"})",
                         "-device", "driver=vfio-ccw,id=c"}) == std::set<std::string>{"user", "vfio-ccw", "vfio-pci"});
  CHECK(unseen_networks({"-netdev", "{", "-netdev", R"({"id":"x"})", "-device", "[]"}).empty());
  CHECK(tap_names({"-netdev", R"({"type":"tap","ifname":"tap0","script":"no","id":"n"})"}) == Words{"tap0"});
  CHECK(has_flag({"-daemonize"}, "daemonize"));
  CHECK_FALSE(has_flag({"-name", "daemonize"}, "daemonize"));
  CHECK(only_asks({"-machine", "none,accel=kvm"}));
  CHECK(only_asks({"--version"}));
  CHECK_FALSE(only_asks({"-machine", "q35", "-m", "1"}));
}

TEST_CASE("the guest's taps are those that it has open, and what its command line names") {
  using Names = std::set<std::string>;
  spare_qemu::GuestTaps taps({"named"});
  taps.replace({{1, "named"}, {2, "tap0"}, {3, "tap1"}});
  CHECK(taps.to_bind() == Names{"named"});
  CHECK(taps.unknown());
  taps.opened({2});
  CHECK(taps.to_bind() == Names{"named", "tap0"});
  taps.bound({"named", "tap0"});
  CHECK(taps.to_bind().empty());
  taps.give_up();
  CHECK_FALSE(taps.unknown());

  SECTION("another's is looked for again when somebody opens it, not for anything else") {
    taps.hear({3, "tap1", false});
    CHECK_FALSE(taps.unknown());
    taps.hear({3, "tap1", true});
    CHECK(taps.unknown());
    taps.give_up();
    taps.hear({3, "tap1", true});
    CHECK_FALSE(taps.unknown());
  }
  SECTION("one that goes and comes back is bound again, under either index") {
    taps.hear({2, "tap0", true, true});
    CHECK(taps.to_bind().empty());
    taps.hear({2, "tap0", true});
    CHECK(taps.unknown());
    taps.opened({2});
    CHECK(taps.to_bind() == Names{"tap0"});
    taps.hear({1, "named", false, true});
    taps.hear({9, "named"});
    CHECK(taps.to_bind() == Names{"named", "tap0"});
  }
  SECTION("one of the same name that the guest has not open is not its own") {
    taps.hear({2, "tap0", true, true});
    taps.hear({7, "tap0"});
    taps.opened({});
    CHECK(taps.to_bind().empty());
  }
  SECTION("after news of its own, and after lost news, it is compared; a new name counts") {
    taps.hear({2, "tap7"});
    CHECK(taps.to_bind() == Names{"tap7"});
    taps.bound({"tap7"});
    taps.replace({{1, "named"}, {2, "tap7"}});
    CHECK(taps.to_bind() == Names{"named", "tap7"});
  }
}
