// SPDX-License-Identifier: GPL-2.0-only
/*
 * parse.h against a parser that splits, compares and converts with the C++ library; every text in a heap block of exactly its length, so
 * that the address sanitizer sees a byte read too far.
 */
#include "oracle.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <sched_spare/parse.h>

#include <catch2/catch_test_macros.hpp>

using oracle::Random;
using namespace std::string_literals;

namespace {

/* Calls f(buf, len) with an exact copy of the text. */
template <typename F> auto exactly(const std::string &s, F f)
{
	const std::unique_ptr<char[]> buf(new char[s.size()]);

	if (!s.empty())
		std::memcpy(buf.get(), s.data(), s.size());
	return f(buf.get(), uint32_t(s.size()));
}

/* The words of a text, or nothing where no text may look so: one newline may end it, blanks separate. */
std::optional<std::vector<std::string>> words(std::string s)
{
	std::vector<std::string> out;

	if (!s.empty() && s.back() == '\n')
		s.pop_back();
	if (s.find('\n') != std::string::npos || s.find('\0') != std::string::npos)
		return std::nullopt;
	std::string w;
	for (char c : s + " ") {
		if (c != ' ' && c != '\t') {
			w += c;
		} else if (!w.empty()) {
			out.push_back(w);
			w.clear();
		}
	}
	return out;
}

bool is_number(const std::string &s)
{
	return !s.empty() && s.find_first_not_of("0123456789") == std::string::npos;
}

/* Value of digits, or nothing when it is more than limits matter (all limits are far below 10^12). */
std::optional<uint64_t> value(const std::string &digits)
{
	const size_t at = digits.find_first_not_of('0');
	const std::string s = at == std::string::npos ? "0" : digits.substr(at);

	if (s.size() > 12)
		return std::nullopt;
	return std::stoull(s);
}

struct outcome {
	int err;
	uint32_t a, b;
	bool operator==(const outcome &) const = default;
};

outcome expect_reservation(const std::string &text)
{
	const auto w = words(text);

	if (!w || w->empty() || w->size() > 2)
		return {-EINVAL, 7, 7};
	if (w->size() == 1)
		return (*w)[0] == "max" ? outcome{0, 0, 0} : outcome{-EINVAL, 7, 7};
	if (!is_number((*w)[0]) || !is_number((*w)[1]))
		return {-EINVAL, 7, 7};
	const auto q = value((*w)[0]), p = value((*w)[1]);
	if (!q || !p || *p < 100 || *p > 1000000 || *q < 50 || *q > *p || *q * 200 < *p)
		return {-ERANGE, 7, 7};
	return {0, uint32_t(*q), uint32_t(*p)};
}

outcome real_reservation(const std::string &text)
{
	spare_reservation r{7, 7};
	const int err = exactly(text, [&](const char *b, uint32_t n) { return spare_parse_reservation(b, n, &r); });

	return {err, r.runtime_us, r.period_us};
}

outcome expect_flag(const std::string &text)
{
	const auto w = words(text);

	if (!w || w->size() != 1 || ((*w)[0] != "0" && (*w)[0] != "1"))
		return {-EINVAL, 7, 0};
	return {0, uint32_t((*w)[0] == "1"), 0};
}

outcome real_flag(const std::string &text)
{
	int v = 7;
	const int err = exactly(text, [&](const char *b, uint32_t n) { return spare_parse_flag(b, n, &v); });

	return {err, uint32_t(v), 0};
}

/* In the order of policy_keys. */
using policy = std::array<uint64_t, 9>;

struct range {
	std::string key;
	uint64_t start, least, most;
};

const std::array<range, 9> policy_keys{{{"grant_us", 2000, 1, 1000000},
					{"chances", 0, 0, 1000000},
					{"window_us", 1000000, 1000, 60000000},
					{"gain_us", 0, 0, 60000000},
					{"payback", 0, 0, 1},
					{"wait", 1, 0, 1},
					{"hasten", 1, 0, 1},
					{"charge", 1, 0, 1},	/* DEBT-1, as the next */
					{"interval_us", 500000, 100, 60000000}}};
constexpr size_t window_us = 2, gain_us = 3, charge = 7;

policy start_policy()
{
	policy p;

	std::transform(policy_keys.begin(), policy_keys.end(), p.begin(), [](const range &r) { return r.start; });
	return p;
}

size_t key_of(const std::string &name)
{
	return size_t(std::find_if(policy_keys.begin(), policy_keys.end(), [&](const range &r) { return r.key == name; }) - policy_keys.begin());
}

std::pair<int, policy> expect_policy(const std::string &text)
{
	const auto w = words(text);
	const std::pair<int, policy> invalid{-EINVAL, start_policy()};
	policy next = start_policy();
	std::array<bool, 9> seen{};
	bool range = false;

	if (!w || w->empty())
		return invalid;
	for (const std::string &s : *w) {
		const size_t eq = s.find('='), key = key_of(s.substr(0, eq));

		if (eq == std::string::npos || key == policy_keys.size() || seen[key])
			return invalid;
		seen[key] = true;
		std::string given = s.substr(eq + 1);
		if (key == charge)
			given = given == "none" ? "0" : given == "debt" ? "1" : "?";
		if (!is_number(given))
			return invalid;
		const auto v = value(given);
		if (!v || *v < policy_keys[key].least || *v > policy_keys[key].most)
			range = true;
		else
			next[key] = *v;
	}
	if (range || next[gain_us] > next[window_us])
		return {-ERANGE, start_policy()};
	return {0, next};
}

std::pair<int, policy> real_policy(const std::string &text)
{
	spare_policy p = SPARE_POLICY_DEFAULT;
	const int err = exactly(text, [&](const char *b, uint32_t n) { return spare_parse_policy(b, n, &p); });

	return {err, {p.grant_us, p.chances, p.window_us, p.gain_us, p.payback, p.wait, p.hasten, p.charge, p.interval_us}};
}

void require_same(const std::string &text)
{
	/* (What Catch2 does for each assertion takes ten times as long as what is compared.) */
	if (real_reservation(text) == expect_reservation(text) && real_policy(text) == expect_policy(text) && real_flag(text) == expect_flag(text))
		return;
	CAPTURE(text.substr(0, 200), text.size());
	REQUIRE(real_reservation(text) == expect_reservation(text));
	REQUIRE(real_policy(text) == expect_policy(text));
	REQUIRE(real_flag(text) == expect_flag(text));
}

/* Texts that are right, from which wrong ones are made. */
const std::vector<std::string> seeds{
	"40000 100000\n", "max\n", "max", "50 100", "50 10000", "1000000 1000000", "\t4000  10000 ", "0\n", "1", " 1 \n",
	"grant_us=2000\n", "grant_us=1 chances=3 window_us=1000 gain_us=1000 payback=1", "gain_us=60000000 window_us=60000000",
	"payback=0 ", "18446744073709551615 100", "18446744073709551616 18446744073709551616", "-40000 100000", "+40 100", "0x40 100",
	"40000 100000 1", "40000", "max max", "100000 40000", "grant_us", "grant_us=", "=1", "grant_us=1 grant_us=1", "grant_us=-1",
	"grant_us=99999999999999999999999", "chances=1000001", "gain_us=2 window_us=1", "gain_us=2000000", "GRANT_US=1", "max 100000",
	"wait=0", "hasten=0 wait=1", "wait=2", "hasten=2", "wait=0 wait=0", "wai=1", "waits=1", "hasten=1 hasten=1", "wait", "hasten=",
	"charge=none interval_us=100", "charge=debt\n", "charge=1", "charge=", "interval_us=99", "interval_us=60000000", "interval_us=60000001 charge=non",
	"payback=1 wait=0 hasten=0 gain_us=7 chances=1000000 window_us=60000000 grant_us=1000000", "gain_us=1001 window_us=1000",
	"window_us=999", "window_us=60000001", "gain_us=60000001 window_us=60000000", "grant_us=0", "grant_us=1000001", "payback=2",
	"4e4 100000", "40,000 100000", "40000\n100000", "40000 100000\n\n", "\n", "", " ", "040000 0100000", "00 1"};

} // namespace

TEST_CASE("spare.*: every text of no, one and two bytes")
{
	require_same("");
	for (int a = 0; a < 256; a++) {
		require_same(std::string(1, char(a)));
		for (int b = 0; b < 256; b++)
			require_same({char(a), char(b)});
	}
}

TEST_CASE("spare.*: every byte, NUL included, put in, put over and left out at every place of known texts")
{
	for (const std::string &s : seeds) {
		require_same(s);
		for (size_t at = 0; at <= s.size(); at++) {
			for (int c = 0; c < 256; c++) {
				std::string t = s;

				t.insert(at, 1, char(c));
				require_same(t);
				if (at < s.size()) {
					t = s;
					t[at] = char(c);
					require_same(t);
				}
			}
			require_same(s.substr(0, at));
			require_same(s.substr(at));
		}
	}
}

TEST_CASE("spare.*: random texts of the forms' own letters")
{
	static const std::vector<std::string> pieces{
		"0", "1", "9", "50", "100", "40000", "100000", "1000000", "1000001", "4294967296", "18446744073709551615",
		"184467440737095516160", "-1", "max", "grant_us", "chances", "window_us", "gain_us", "payback", "wait", "hasten", "charge", "interval_us", "none", "debt", "=", " ", " ", "\t", "\n", "\0"s, "=1", "=1000"};
	Random r(31);

	for (unsigned i = 0; i < 10000; i++) {
		std::string t;

		for (uint64_t n = r.in(0, 9); n; n--)
			t += pieces[r.in(0, pieces.size() - 1)];
		require_same(t);
	}
}

TEST_CASE("spare.*: a word holds neither NUL nor newline, whoever reads it")
{
	for (const std::string &s : {"a\0b"s, "\0"s, "a b\0"s, "a\nb"s, " \n "s}) {
		struct spare_word w;
		uint32_t pos = 0;
		int err;

		while ((err = exactly(s, [&](const char *b, uint32_t n) { return spare_next_word(b, n, &pos, &w); })) > 0)
			;
		REQUIRE(err == -EINVAL);
	}
}

TEST_CASE("spare.reservation: limits of CBS-7, each side of each")
{
	for (uint64_t p : {99ull, 100ull, 101ull, 9999ull, 10000ull, 10001ull, 999999ull, 1000000ull, 1000001ull, 4294967295ull, 4294967296ull + 100000})
		for (uint64_t q : {0ull, 49ull, 50ull, 51ull, 99ull, 100ull, 4999ull, 5000ull, 5001ull, 1000000ull, 1000001ull, 4294967296ull + 50})
			require_same(std::to_string(q) + " " + std::to_string(p));
	for (uint64_t p = 100; p <= 1000000; p += 777)
		for (int64_t d = -2; d <= 2; d++) {
			require_same(std::to_string(int64_t(p / 200) + d < 0 ? 0 : int64_t(p / 200) + d) + " " + std::to_string(p));
			require_same(std::to_string(int64_t(p) + d) + " " + std::to_string(p));
		}
}

TEST_CASE("GUARD-1: spare.net.max is a reservation with a period of 100 ms at most")
{
	const auto parse = [](const std::string &text) {
		spare_reservation r{1, 1};
		const int err = spare_parse_net_max(text.data(), uint32_t(text.size()), &r);

		CHECK((err == 0 || (r.runtime_us == 1 && r.period_us == 1)));
		return err;
	};
	CHECK(parse("500 10000\n") == 0);
	CHECK(parse("100000 100000") == 0);
	CHECK(parse("max") == 0);
	CHECK(parse("1000 100001") == -ERANGE);
	CHECK(parse("49 1000") == -ERANGE);
	CHECK(parse("500") == -EINVAL);
	CHECK(parse("max 1") == -EINVAL);
}

TEST_CASE("spare.*: texts of 64 KiB")
{
	const size_t n = 65536;
	Random r(32);

	for (char c : {'0', '9', ' ', '\n', '\0', 'm', '=', '\t'})
		require_same(std::string(n, c));
	require_same(std::string(n - 13, '0') + "40000 100000\n");
	require_same(std::string(n - 13, ' ') + "40000 100000\n");
	require_same("40000" + std::string(n - 12, ' ') + "100000\n");
	require_same("40000 100000" + std::string(n - 12, ' '));
	require_same("grant_us=" + std::string(n - 10, '0') + "1");
	require_same("grant_us=" + std::string(n - 9, '9'));
	std::string many;
	while (many.size() < n)
		many += "grant_us=1 ";
	require_same(many);
	for (unsigned i = 0; i < 10; i++) {
		std::string t(n, ' ');

		for (char &c : t)
			c = char(r.in(0, 255));
		require_same(t);
	}
}

TEST_CASE("CBS-6: utilization is rounded up, so that admission never sums to less than what is served")
{
	Random r(33);

	REQUIRE(spare_util_ppm(0, 0) == 0);
	for (unsigned i = 0; i < 100000; i++) {
		const uint32_t p = uint32_t(r.in(100, 1000000)), q = uint32_t(r.in(50, p));
		const oracle::wide ppm = spare_util_ppm(q, p);

		REQUIRE(ppm * p >= oracle::wide(q) * 1000000);
		REQUIRE((ppm - 1) * p < oracle::wide(q) * 1000000);
	}
}
