// SPDX-License-Identifier: GPL-2.0-only
#pragma once

#include <poll.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <csignal>
#include <initializer_list>
#include <optional>
#include <string_view>

#include "util/fd.hpp"
#include "util/result.hpp"

namespace spare {

// These signals are to be read from there from now on.
inline Fd open_signals(std::initializer_list<int> which) {
  sigset_t signals;
  sigemptyset(&signals);
  for (const int signal : which) {
    sigaddset(&signals, signal);
  }
  sigprocmask(SIG_BLOCK, &signals, nullptr);
  return Fd(::signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK));
}

inline std::optional<int> next_signal(const Fd& signals) {
  signalfd_siginfo info{};
  return ::read(signals.get(), &info, sizeof(info)) == static_cast<ssize_t>(sizeof(info)) ? std::optional(static_cast<int>(info.ssi_signo))
                                                                                            : std::nullopt;
}

// Writes all of it, or what is taken before a signal comes (it is still to be read): false. Who reads no more keeps nobody.
inline Result<bool> write_until_signal(int fd, const Fd& signals, std::string_view text) {
  while (!text.empty()) {
    std::array<pollfd, 2> fds = {{{fd, POLLOUT, 0}, {signals.get(), POLLIN, 0}}};
    if (::poll(fds.data(), fds.size(), -1) < 0 && errno != EINTR) {
      return errno_error("poll");
    }
    if (fds[1].revents != 0) {
      return false;
    }
    // (So much a pipe that is ready takes without waiting.)
    const ssize_t n = fds[0].revents != 0 ? ::write(fd, text.data(), std::min<std::size_t>(text.size(), PIPE_BUF)) : 0;
    if (n < 0 && errno != EINTR && errno != EAGAIN) {
      return errno_error("cannot write");
    }
    text.remove_prefix(static_cast<std::size_t>(std::max<ssize_t>(n, 0)));
  }
  return true;
}

}  // namespace spare
