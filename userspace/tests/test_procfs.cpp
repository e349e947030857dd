// SPDX-License-Identifier: GPL-2.0-only
#include <catch2/catch_test_macros.hpp>
#include <chrono>
#include <string>
#include <thread>
#include <vector>

#include "util/procfs.hpp"
#include "util/signals.hpp"

TEST_CASE("who reads no more does not keep a writer from hearing a signal") {
  int ends[2];
  REQUIRE(::pipe(ends) == 0);
  const spare::Fd reader(ends[0]), writer(ends[1]);
  const spare::Fd signals = spare::open_signals({SIGUSR1});
  const auto whole = spare::write_until_signal(writer.get(), signals, "a line\n");
  REQUIRE(whole);
  CHECK(*whole);
  ::alarm(60);  // ends the test where it would wait for ever
  std::thread later([self = ::pthread_self()] {
    std::this_thread::sleep_for(std::chrono::milliseconds{100});
    ::pthread_kill(self, SIGUSR1);
  });
  const auto cut = spare::write_until_signal(writer.get(), signals, std::string(10 << 20, 'x'));
  later.join();
  ::alarm(0);
  REQUIRE(cut);
  CHECK_FALSE(*cut);
  CHECK(spare::next_signal(signals) == SIGUSR1);
}

TEST_CASE("LIFE-4: what the kernel and command lines write") {
  CHECK(spare::processes_of("7\n0\n12\nx\n") == std::vector<pid_t>{7, 12});
  CHECK(spare::processes_of("").empty());
  CHECK(spare::key_in("tap,ifname=a,ifnames=b", "ifname") == "a");
  CHECK(spare::key_in("ifname", "ifname").empty());
  CHECK(spare::guest_of_option("vm1,debug-threads=on") == "vm1");
  CHECK(spare::guest_of_option("debug-threads=on,guest=vm1") == "vm1");
  CHECK(spare::guest_of_option("debug-threads=on").empty());
}
