// SPDX-License-Identifier: GPL-2.0-only
#pragma once

#include <sys/signalfd.h>
#include <unistd.h>

#include <csignal>
#include <initializer_list>
#include <optional>

#include "util/fd.hpp"

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

}  // namespace spare
