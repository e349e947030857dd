/* SPDX-License-Identifier: GPL-2.0-only */
/* server_stat.h - one server as spare.stat shows it, read again and again through one descriptor. */
#pragma once

#include "tool_util.h"

namespace tool {

/* The per-server keys of spare.stat, for one CPU. */
struct server_view {
	uint64_t read_ns = 0; /* when it was read */
	bool throttled = false;
	bool claimed = false; /* provider: somebody has it */
	int64_t q_ns = 0;
	uint64_t d_ns = 0, used_ns = 0, periods = 0, overrun_max_ns = 0, misses = 0, overruns = 0;
};

class ServerStat {
public:
	ServerStat() = default;
	ServerStat(std::string path, unsigned cpu) : path_(std::move(path)), prefix_(fmt::format("cpu{}.", cpu))
	{
		fd_ = Fd(::open(path_.c_str(), O_RDONLY | O_CLOEXEC));
		if (!fd_)
			die("{}", path_);
	}
	explicit operator bool() const { return bool(fd_); }

	server_view read() const
	{
		char buf[8192];
		server_view v;
		const ssize_t n = ::pread(fd_.get(), buf, sizeof(buf), 0);

		if (n <= 0)
			die("cannot read {}", path_);
		const std::string_view text(buf, size_t(n));
		const auto state = flat_key(text, prefix_ + "state");
		if (!state)
			die("{} has no {}state: no server on that CPU", path_, prefix_);
		v.throttled = *state == "throttled";
		v.claimed = number<uint64_t>(text, prefix_ + "claimed") != 0;
		v.q_ns = number<int64_t>(text, prefix_ + "q_ns");
		v.d_ns = number<uint64_t>(text, prefix_ + "d_ns");
		v.used_ns = number<uint64_t>(text, prefix_ + "used_ns");
		v.periods = number<uint64_t>(text, prefix_ + "periods");
		v.overrun_max_ns = number<uint64_t>(text, prefix_ + "overrun_max_ns");
		v.misses = number<uint64_t>(text, prefix_ + "misses");
		v.overruns = number<uint64_t>(text, "overruns");
		v.read_ns = now_ns();
		return v;
	}

private:
	template <typename T> T number(std::string_view text, const std::string &key) const
	{
		const auto v = flat_number<T>(text, key);

		if (!v)
			die("{} has no number {}", path_, key);
		return *v;
	}

	std::string path_, prefix_;
	Fd fd_;
};

} // namespace tool
