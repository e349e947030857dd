// SPDX-License-Identifier: GPL-2.0-only
#include "util/signals.hpp"

#include <sys/signalfd.h>
#include <unistd.h>

#include <csignal>

namespace spare {

Fd open_signals(std::initializer_list<int> numbers) {
  sigset_t set;
  sigemptyset(&set);
  for (const int number : numbers) {
    sigaddset(&set, number);
  }
  sigprocmask(SIG_BLOCK, &set, nullptr);
  return Fd(::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
}

std::optional<int> next_signal(const Fd& signals) {
  signalfd_siginfo info{};
  return ::read(signals.get(), &info, sizeof(info)) == static_cast<ssize_t>(sizeof(info)) ? std::optional(static_cast<int>(info.ssi_signo))
                                                                                            : std::nullopt;
}

}  // namespace spare
