/* SPDX-License-Identifier: GPL-2.0-only */
/* tool_util.h - the few things that all test tools need: descriptors, the clock, small files, flat-keyed text. */
#pragma once

#include <cerrno>
#include <charconv>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include <fcntl.h>
#include <unistd.h>

#include <fmt/format.h>

#include "rest.h"

namespace tool {

class Fd {
public:
	Fd() = default;
	explicit Fd(int fd) : fd_(fd) {}
	Fd(Fd &&o) noexcept : fd_(std::exchange(o.fd_, -1)) {}
	Fd &operator=(Fd &&o) noexcept
	{
		std::swap(fd_, o.fd_);
		return *this;
	}
	~Fd()
	{
		if (fd_ >= 0)
			::close(fd_);
	}
	int get() const { return fd_; }
	explicit operator bool() const { return fd_ >= 0; }

private:
	int fd_ = -1;
};

/* A tool without its precondition has no result to give: say why and leave with 2 (1 is a failed assertion). */
template <typename... T>
[[noreturn]] void die(fmt::format_string<T...> f, T &&...args)
{
	const int err = errno;

	fmt::print(stderr, "{}: {}{}{}\n", program_invocation_short_name, fmt::format(f, std::forward<T>(args)...),
		   err ? ": " : "", err ? std::strerror(err) : "");
	std::exit(2);
}

/* 500 instructions, 1 us in the deterministic host, which the emulator gets through as fast as through a few others. */
inline void spend()
{
	asm volatile(".rept 500; nop; .endr" ::: "memory");
}

inline uint64_t now_ns()
{
	timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return uint64_t(ts.tv_sec) * 1000000000u + uint64_t(ts.tv_nsec);
}

inline void sleep_until(uint64_t t_ns)
{
	const timespec ts{time_t(t_ns / 1000000000u), long(t_ns % 1000000000u)};

	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, nullptr) == EINTR)
		;
}

inline void sleep_for(uint64_t ns)
{
	sleep_until(now_ns() + ns);
}

/* Writes text to an existing file; false (errno set) when that fails. */
[[nodiscard]] inline bool write_file(const std::string &path, std::string_view text)
{
	const Fd fd(::open(path.c_str(), O_WRONLY | O_CLOEXEC));

	return fd && ::write(fd.get(), text.data(), text.size()) == ssize_t(text.size());
}

[[nodiscard]] inline std::optional<std::string> read_file(const std::string &path)
{
	const Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
	std::string out;
	char buf[4096];
	ssize_t n;

	if (!fd)
		return std::nullopt;
	while ((n = ::read(fd.get(), buf, sizeof(buf))) > 0)
		out.append(buf, size_t(n));
	if (n < 0)
		return std::nullopt;
	return out;
}

/* The value of "key value" in flat-keyed text. */
inline std::optional<std::string_view> flat_key(std::string_view text, std::string_view key)
{
	while (!text.empty()) {
		const size_t eol = std::min(text.find('\n'), text.size());
		const std::string_view line = text.substr(0, eol);

		if (line.size() > key.size() && line[key.size()] == ' ' && line.starts_with(key))
			return line.substr(key.size() + 1);
		text.remove_prefix(std::min(eol + 1, text.size()));
	}
	return std::nullopt;
}

template <typename T> std::optional<T> to_number(std::string_view s)
{
	T v{};
	const auto r = std::from_chars(s.data(), s.data() + s.size(), v);

	if (r.ec != std::errc() || r.ptr != s.data() + s.size())
		return std::nullopt;
	return v;
}

template <typename T> std::optional<T> flat_number(std::string_view text, std::string_view key)
{
	const auto v = flat_key(text, key);

	return v ? to_number<T>(*v) : std::nullopt;
}

} // namespace tool
