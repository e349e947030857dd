// SPDX-License-Identifier: GPL-2.0-only
#include <catch2/catch_test_macros.hpp>
#include <vector>

#include "util/procfs.hpp"

TEST_CASE("LIFE-4: what the kernel and command lines write") {
  CHECK(spare::processes_of("7\n0\n12\nx\n") == std::vector<pid_t>{7, 12});
  CHECK(spare::processes_of("").empty());
  CHECK(spare::key_in("tap,ifname=a,ifnames=b", "ifname") == "a");
  CHECK(spare::key_in("ifname", "ifname").empty());
  CHECK(spare::guest_of_option("vm1,debug-threads=on") == "vm1");
  CHECK(spare::guest_of_option("debug-threads=on,guest=vm1") == "vm1");
  CHECK(spare::guest_of_option("debug-threads=on").empty());
}
