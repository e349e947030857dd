// SPDX-License-Identifier: GPL-2.0-only
#include <catch2/catch_test_macros.hpp>

#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "fake_tree.hpp"
#include "util/fd.hpp"
#include "util/processes.hpp"
#include "util/taps.hpp"

TEST_CASE("a tap is found by what a process has open, with its index and namespace") {
  std::size_t left = 1000;
  REQUIRE(spare::own_netns() != 0);
  CHECK(spare::taps_of("/proc", ::getpid(), left) == std::vector<spare::Tap>());
  const spare::Fd device(::open("/dev/net/tun", O_RDWR | O_CLOEXEC));
  ifreq request{};
  request.ifr_flags = IFF_TAP | IFF_NO_PI;
  if (!device || ::ioctl(device.get(), TUNSETIFF, &request) != 0) {
    SKIP("no tap can be made here");
  }
  const std::string name(request.ifr_name, ::strnlen(request.ifr_name, IFNAMSIZ));
  CHECK(spare::taps_of("/proc", ::getpid(), left) == std::vector<spare::Tap>{{name, ::if_nametoindex(name.c_str()), spare::own_netns(), false}});
}

TEST_CASE("what is only called a tap is none, and who is gone has none") {
  FakeTree tree;
  const auto dir = tree.root() / std::to_string(::getpid()) / "fd";
  std::filesystem::create_directories(dir);
  std::filesystem::create_symlink("/dev/tap-by-name-alone", dir / "9");
  std::size_t left = 1000;
  CHECK(spare::taps_of(tree.root(), ::getpid(), left) == std::vector<spare::Tap>());
}

TEST_CASE("process numbers") {
  CHECK(spare::as_pid("12") == 12);
  CHECK(spare::as_pid("12x") == 0);
  CHECK(spare::as_pid("") == 0);
}
