// SPDX-License-Identifier: GPL-2.0-only
#include <spdlog/details/log_msg.h>

#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>

#include "../daemon/log.hpp"
#include "advice.hpp"
#include "duration.hpp"
#include "flat_keyed.hpp"
#include "util/files.hpp"

using spare::parse_duration_us;
using spare::parse_reservation;
using spare::Reservation;

TEST_CASE("durations: a number with a unit, microseconds without") {
  struct Case {
    const char* text;
    std::uint64_t us;
  };
  const auto [text, us] = GENERATE(Case{"40ms", 40000}, Case{"400us", 400}, Case{"0.4s", 400000}, Case{"1s", 1000000}, Case{"0", 0},
                                   Case{"40000", 40000}, Case{"1.5ms", 1500}, Case{"2.50ms", 2500}, Case{"1.0us", 1});
  INFO(text);
  const auto parsed = parse_duration_us(text);
  REQUIRE(parsed);
  CHECK(*parsed == us);
}

TEST_CASE("durations: everything else is refused") {
  const auto* text = GENERATE("", "ms", "-1", "+1", " 1", "1 ms", "1.ms", ".5ms", "1h", "1e3", "0.5us", "0.0001ms", "40ms ",
                              "99999999999999999999", "18446744073709551615s", "0x10", "1,5ms", "\x00");
  INFO(text);
  CHECK_FALSE(parse_duration_us(text));
}

TEST_CASE("CBS-7: reservations and their limits") {
  const auto parsed = parse_reservation("40ms/100ms");
  REQUIRE(parsed);
  CHECK(**parsed == Reservation{40000, 100000});
  CHECK((*parsed)->kernel_form() == "40000 100000");
  CHECK(**parse_reservation("40000/100000") == Reservation{40000, 100000});
  CHECK(**parse_reservation("40000 100000") == Reservation{40000, 100000});
  CHECK(**parse_reservation("0.4s/1s") == Reservation{400000, 1000000});
  CHECK(**parse_reservation("40%") == Reservation{40000, 100000});
  CHECK(**parse_reservation("2.5%/10ms") == Reservation{250, 10000});
  CHECK(**parse_reservation("100%") == Reservation{100000, 100000});
  CHECK(**parse_reservation("33.3333%/1ms") == Reservation{333, 1000});
  CHECK(**parse_reservation("50us/100us") == Reservation{50, 100});
  CHECK_FALSE(parse_reservation("max")->has_value());
  CHECK_FALSE(parse_reservation("none")->has_value());

  const auto* bad = GENERATE("", "40ms", "40ms/", "/100ms", "40ms/100ms/3", "-1/100", "100ms/40ms", "50us/99us", "1s/1.1s", "49us/100us",
                             "4ms/1s", "0/100ms", "max/100ms", "%", "0%", "-1%", "101%", "0.4%", "40 %", "1e1%", "40%/2s", "40ms/100%");
  INFO(bad);
  CHECK_FALSE(parse_reservation(bad));
}

TEST_CASE("reservations are shown as people write them") {
  CHECK(spare::format_us(40000) == "40ms");
  CHECK(spare::format_us(400) == "400us");
  CHECK(spare::format_us(1500) == "1.5ms");
  CHECK(spare::format_us(1000000) == "1s");
  CHECK(spare::format_reservation(Reservation{4000, 10000}) == "4ms/10ms");
  CHECK(spare::format_reservation(std::nullopt) == "max");
}

TEST_CASE("flat keyed files") {
  const auto keyed = spare::FlatKeyed::parse("used_ns 12\nlat 1 2 3\nq_ns -5\nword x\n\n");
  CHECK(keyed.entries().size() == 4);
  CHECK(keyed.number("used_ns") == 12);
  CHECK_FALSE(keyed.number("lat"));
  CHECK_FALSE(keyed.number("q_ns"));
  CHECK_FALSE(keyed.number("word"));
  CHECK_FALSE(keyed.number("absent"));
}

TEST_CASE("names are shown so that a terminal and JSON can take them") {
  CHECK(spare::printable("/vm/vm1") == "/vm/vm1");
  CHECK(spare::printable("/machine.slice/machine-qemu\\x2d1.scope") == "/machine.slice/machine-qemu\\x2d1.scope");
  CHECK(spare::printable("a\nb") == "a\\x0ab");
  CHECK(spare::printable("\x1b[31m\x7f\t") == "\\x1b[31m\\x7f\\x09");
  CHECK(spare::printable("gr\u00fc\u00df \u20ac \U0001f600") == "gr\u00fc\u00df \u20ac \U0001f600");
  // Broken: a lone byte, a cut one, an overlong one, a surrogate, beyond Unicode, a control character of C1.
  CHECK(spare::printable("\xff") == "\\xff");
  CHECK(spare::printable("\xe2\x82") == "\\xe2\\x82");
  CHECK(spare::printable("\xc0\xaf") == "\\xc0\\xaf");
  CHECK(spare::printable("\xed\xa0\x80") == "\\xed\\xa0\\x80");
  CHECK(spare::printable("\xf4\x90\x80\x80") == "\\xf4\\x90\\x80\\x80");
  CHECK(spare::printable("\xc2\x9b") == "\\xc2\\x9b");
  // What turns the text beside it, or ends its line.
  CHECK(spare::printable("a\u202eb\u2066c\u061c\u2028") == "a\\xe2\\x80\\xaeb\\xe2\\x81\\xa6c\\xd8\\x9c\\xe2\\x80\\xa8");
  CHECK(spare::printable("\u2013 \u2070 \u200d") == "\u2013 \u2070 \u200d");
  CHECK(spare::printable("gr\u00fc\u00df", 4) == "gr\u00fc\u00df");
  CHECK(spare::printable("gr\u00fc\u00df", 3) == "gr\u00fc...");
  CHECK(spare::printable("", 0) == "");
  CHECK(spare::printable_lines("a\x1b\n\n\xff\n") == "a\\x1b\n\n\\xff\n");
}

TEST_CASE("a line of the log: what others have named is of one line, and has no other priority") {
  const auto line = [](bool to_journal, const std::string& text) {
    spdlog::memory_buf_t out;
    spare::log_formatter(to_journal)->format(spdlog::details::log_msg("spared", spdlog::level::warn, text), out);
    return std::string(out.data(), out.size());
  };
  CHECK(line(false, "tap\x1b[2J of \xff") == "spared: warning: tap\\x1b[2J of \\xff\n");
  CHECK(line(true, "meter: VM " + spare::printable("x\n<2>kernel: BUG")) == "<4>warning: meter: VM x\\x0a<2>kernel: BUG\n");
}

TEST_CASE("words and blanks") {
  CHECK(spare::split("  a b\tc ", " \t") == std::vector<std::string>{"a", "b", "c"});
  CHECK(spare::split("", " ").empty());
  CHECK(spare::trim(" \n") == "");
  CHECK(spare::trim(" a b\n") == "a b");
}

TEST_CASE("SPARE-10: which setting was too small is said, where it was so often") {
  spare::Vm vm;
  vm.policy = "grant_us=2000 chances=0 window_us=1000000 gain_us=0 payback=0";
  vm.stat = spare::FlatKeyed::parse("granted 100\nshort 4\nshort_gain 0\nshort_q 0\n");
  CHECK(spare::advice(vm, 4000).empty());

  vm.stat = spare::FlatKeyed::parse("granted 100\nshort 5\nshort_gain 0\nshort_q 0\n");
  CHECK(spare::advice(vm, 4000) == std::vector<std::string>{"5 of 100 grants ended while a vCPU would have run on: raise grant_us (2000) in spare.policy"});
  CHECK(spare::advice(vm, 2000).at(0).find("and Q of the providers (2000 us)") != std::string::npos);
  vm.policy = "chances=3 grant_us=500";
  CHECK(spare::advice(vm, 0).at(0).ends_with("raise grant_us (500) or chances (3) in spare.policy"));

  vm.stat = spare::FlatKeyed::parse("granted 10\nshort 0\nshort_gain 7\nshort_q 30\n");
  REQUIRE(spare::advice(vm, 1000).size() == 2);
  CHECK(spare::advice(vm, 1000)[0].find("raise gain_us") != std::string::npos);
  CHECK(spare::advice(vm, 1000)[1].ends_with("raise Q of the providers (1000 us)"));

  vm.provider = true;
  CHECK(spare::advice(vm, 1000).empty());
  vm.provider = false;
  vm.stat = spare::FlatKeyed::parse("granted 0\n");
  CHECK(spare::advice(vm, 1000).empty());
}
