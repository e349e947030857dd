// SPDX-License-Identifier: GPL-2.0-only
#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>

#include "config.hpp"
#include "util/files.hpp"

using spare::Config;
using spare::Cpus;
using spare::parse_config;

TEST_CASE("SPARE-5: a configuration with everything in it") {
  const auto config = parse_config(R"(
[placement]
enabled = false
servers = 2

[meter]
enabled = true

[[pool]]
name = "net"
reservation = "4ms/10ms"
size = 2
cpus = "2-3,5"
members = ["/machine.slice/*", "/vm/web-*"]
policy = { grant_us = 3000, chances = 5, window_us = 500000, gain_us = 20000, payback = true, wait = false }

[[pool]]
name = "rest"
reservation = "1000/20000"
)", "f");
  REQUIRE(config);
  CHECK_FALSE(config->place);
  CHECK(config->servers == 2);
  CHECK(config->meter);
  REQUIRE(config->pools.size() == 2);
  CHECK(config->pools[0].path() == "/pool/net");
  CHECK(config->pools[0].spare == spare::Reservation{4000, 10000});
  CHECK(config->pools[0].size == 2);
  CHECK(config->pools[0].cpus == Cpus{2, 3, 5});
  CHECK(config->pools[0].policy == "grant_us=3000 chances=5 window_us=500000 gain_us=20000 payback=1 wait=0");
  CHECK(config->pools[1].size == 1);
  CHECK_FALSE(config->pools[1].cpus);
  CHECK(config->pools[1].policy.empty());
}

TEST_CASE("SPARE-5: an empty configuration places one server per vCPU and has no pool") {
  const auto config = parse_config("", "f");
  REQUIRE(config);
  CHECK(config->place);
  CHECK_FALSE(config->servers);
  CHECK(config->pools.empty());
  const auto missing = spare::read_config("/nonexistent/spared.toml");
  REQUIRE_FALSE(missing);
  CHECK(missing.error().code == ENOENT);
}

TEST_CASE("SPARE-5: the example that is installed is a good one, with its pool too") {
  const auto text = spare::read_file(EXAMPLE_TOML);
  REQUIRE(text);
  REQUIRE(parse_config(*text, "example"));
  std::string with_pool;
  for (std::string line : spare::split(*text, "\n")) {
    const bool commented = line.starts_with("# [") || (line.starts_with("# ") && line.find(" = ") != std::string::npos);
    with_pool += (commented ? line.substr(2) : line) + "\n";
  }
  const auto config = parse_config(with_pool, "example");
  REQUIRE(config);
  REQUIRE(config->pools.size() == 1);
  CHECK(config->pools[0].members.size() == 2);
  CHECK(config->metrics.listen);
  CHECK_FALSE(config->metrics.textfile.empty());
}

TEST_CASE("SPARE-5: mistakes are named with their line") {
  struct Case {
    const char* text;
    const char* line;
    const char* says;
  };
  const auto [text, line, says] = GENERATE(
      Case{"[placement]\nenabled = 1\n", "f:2: ", "true or false"}, Case{"\n\nfoo = 1\n", "f:3: ", "unknown key 'foo'"},
      Case{"[placement\n", "f:1: ", ""}, Case{"[[pool]]\nreservation = \"4ms/10ms\"\n", "f:1: ", "needs a name"},
      Case{"[[pool]]\nname = \"a\"\n", "f:1: ", "needs a reservation"},
      Case{"[[pool]]\nname = \"a/b\"\nreservation = \"4ms/10ms\"\n", "f:2: ", "no name of a pool"},
      Case{"[[pool]]\nname = \"a\"\nreservation = \"40ms/10ms\"\n", "f:3: ", ""},
      Case{"[[pool]]\nname = \"a\"\nreservation = \"max\"\n", "f:3: ", "needs a reservation"},
      Case{"[[pool]]\nname = \"a\"\nreservation = \"4ms/10ms\"\nsize = 9\n", "f:4: ", "between 1 and 8"},
      Case{"[[pool]]\nname = \"a\"\nreservation = \"4ms/10ms\"\nsize = 0\n", "f:4: ", "between 1 and 8"},
      Case{"[[pool]]\nname = \"a\"\nreservation = \"4ms/10ms\"\ncpus = \"3-1\"\n", "f:4: ", "not a list"},
      Case{"[[pool]]\nname = \"a\"\nreservation = \"4ms/10ms\"\ncpus = 3\n", "f:4: ", "a string"},
      Case{"[[pool]]\nname = \"a\"\nreservation = \"4ms/10ms\"\nmembers = \"/vm/*\"\n", "f:4: ", "a list of patterns"},
      Case{"[[pool]]\nname = \"a\"\nreservation = \"4ms/10ms\"\nmembers = [\n\"/vm/*\",\n\"vm\"]\n", "f:6: ", "a pattern"},
      Case{"[[pool]]\nname = \"a\"\nreservation = \"4ms/10ms\"\npolicy = { grant_us = 0 }\n", "f:4: ", "between 1 and"},
      Case{"[[pool]]\nname = \"a\"\nreservation = \"4ms/10ms\"\npolicy = { gain_us = 1000001 }\n", "f:4: ", "exceed window_us"},
      Case{"[[pool]]\nname = \"a\"\nreservation = \"4ms/10ms\"\n[[pool]]\nname = \"a\"\nreservation = \"1ms/10ms\"\n", "f:4: ", "already"},
      Case{"pool = 3\n", "f:1: ", "[[pool]]"}, Case{"[placement]\nservers = \"many\"\n", "f:2: ", "vcpus"},
      Case{"[placement]\nservers = 0\n", "f:2: ", "between 1"},
      Case{"[meter]\nenabled = 1\n", "f:2: ", "true or false"}, Case{"[meter]\non = true\n", "f:2: ", "unknown key 'on'"}, Case{"meter = true\n", "f:1: ", "[meter]"});
  INFO(text);
  const auto config = parse_config(text, "f");
  REQUIRE_FALSE(config);
  INFO(config.error().text);
  CHECK(config.error().text.starts_with(line));
  CHECK(config.error().text.find(says) != std::string::npos);
}

TEST_CASE("SPARE-5: members are cgroups by pattern; the first pool that matches counts") {
  Config config;
  config.pools.resize(2);
  config.pools[0].name = "a";
  config.pools[0].members = {"/vm/web-*", "/machine.slice/machine-qemu\\x2d1*"};
  config.pools[1].name = "b";
  config.pools[1].members = {"/vm/*"};
  const auto pool = [&](const char* path) {
    const auto* found = spare::pool_of(config, path);
    return found != nullptr ? found->name : "";
  };
  CHECK(pool("/vm/web-1") == "a");
  CHECK(pool("/vm/db") == "b");
  CHECK(pool("/vm/db/vcpu0").empty());
  CHECK(pool("/vm").empty());
  CHECK(pool("/machine.slice/machine-qemu\\x2d1\\x2dweb.scope") == "a");
}

TEST_CASE("CPU lists read back as they are written") {
  for (const char* text : {"", "0", "0-3", "0,2,4", "0-1,3,5-7", "1023"}) {
    const auto cpus = spare::parse_cpu_list(text);
    REQUIRE(cpus);
    CHECK(spare::format_cpu_list(*cpus) == text);
  }
  CHECK(spare::format_cpu_list(*spare::parse_cpu_list("3,1-2,2\n")) == "1-3");
  const auto* bad = GENERATE("1-", "-1", "a", "1,", ",1", "2-1", "1024", "1 2", "0x1");
  INFO(bad);
  CHECK_FALSE(spare::parse_cpu_list(bad));
}

TEST_CASE("metrics: off by default, and as the configuration says") {
  CHECK_FALSE(parse_config("", "f")->metrics.listen);
  CHECK(parse_config("", "f")->metrics.textfile.empty());
  const auto config = parse_config("[metrics]\nlisten = \"127.0.0.1:9968\"\ntextfile = \"/var/lib/x/spare.prom\"\ninterval = \"2s\"\n", "f");
  REQUIRE(config);
  CHECK(config->metrics.listen == spare::Endpoint{"", "127.0.0.1", 9968});
  CHECK(config->metrics.textfile == "/var/lib/x/spare.prom");
  CHECK(config->metrics.interval_us == 2000000);
  const auto socket = parse_config("[metrics]\nlisten = \"/run/m\"\ngroup = \"prometheus\"\n", "f");
  REQUIRE(socket);
  CHECK(socket->metrics.listen == spare::Endpoint{"/run/m", "", 0});
  CHECK(socket->metrics.group == "prometheus");
  CHECK(parse_config("[metrics]\nlisten = \"[::1]:1\"\n", "f")->metrics.listen->text() == "[::1]:1");
}

TEST_CASE("metrics: mistakes name their line") {
  const auto wrong = GENERATE("listen = \"0.0.0.0:9968\"", "listen = \"[::]:9968\"", "listen = \"10.0.0.1:9968\"", "listen = \"::1:9968\"", "listen = \"[127.0.0.1]:9968\"",
                              "listen = \"localhost:9968\"", "listen = \"127.0.0.1\"", "listen = \"127.0.0.1:0\"", "listen = \"127.0.0.1:65536\"", "listen = \"127.0.0.1: 1\"",
                              "listen = \"127.0.0.1:-1\"", "listen = \"\"", "listen = 9968", "listen = \"run/m\"", "group = \"x\"", "interval = \"0.5s\"", "interval = \"301s\"",
                              "interval = 15", "interval = \"x\"", "textfile = \"spare.prom\"", "textfile = \"/x/spare.txt\"", "textfile = \"\"", "port = 9968",
                              "listen = \"/0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678\"");
  const auto config = parse_config(std::string("[metrics]\n") + wrong + "\n", "f");
  INFO(wrong);
  REQUIRE_FALSE(config);
  CHECK(config.error().text.starts_with("f:2: "));
  CHECK_FALSE(parse_config("metrics = 1\n", "f"));
  CHECK_FALSE(parse_config("[metrics]\nlisten = \"127.0.0.1:1\"\ngroup = \"x\"\n", "f"));
}

TEST_CASE("GUARD-2: what passes a limit is protocols, and ports of those that have some") {
  CHECK(parse_config("", "f")->guard_passes.empty());
  const auto config = parse_config("[guard]\npass = [\"tcp/22\", \"udp\", \"icmp\", \"icmpv6\"]\n", "f");
  REQUIRE(config);
  CHECK(config->guard_passes == std::vector<std::uint32_t>{6U << 16 | 22, 17U << 16, 1U << 16, 58U << 16});
  const auto wrong = GENERATE("\"tcp/22\"", "[\"tcp/0\"]", "[\"tcp/65536\"]", "[\"icmp/8\"]", "[\"sctp\"]", "[\"tcp/\"]", "[\"\"]", "[22]", "[\"tcp/ssh\"]");
  const auto bad = parse_config(std::string("[guard]\npass = ") + wrong + "\n", "f");
  INFO(wrong);
  REQUIRE_FALSE(bad);
  CHECK(bad.error().text.starts_with("f:2: "));
  CHECK_FALSE(parse_config("[guard]\nuplinks = [\"eth0\"]\n", "f"));
  std::string many = "[guard]\npass = [";
  for (int i = 0; i < 17; i++) {
    many += "\"icmp\",";
  }
  CHECK_FALSE(parse_config(many + "]\n", "f"));
}
