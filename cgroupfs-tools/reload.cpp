// SPDX-License-Identifier: GPL-2.0-only
//
// sparectl reload
#include <signal.h>

#include <chrono>
#include <thread>

#include "class_state.hpp"
#include "commands.hpp"
#include "reload_report.hpp"

namespace sparectl {
namespace {

constexpr std::chrono::seconds limit{10};
constexpr std::chrono::milliseconds poll{20};

}  // namespace

spare::Result<void> reload() {
  const auto daemon = spare::running_daemon();
  if (!daemon) {
    return spare::Error{"spared does not run"};
  }
  const auto before = spare::ReloadReport::read();
  if (::kill(*daemon, SIGHUP) != 0) {
    return spare::errno_error("cannot signal spared");
  }
  const auto until = std::chrono::steady_clock::now() + limit;
  while (std::chrono::steady_clock::now() < until) {
    const auto after = spare::ReloadReport::read();
    if (after && (!before || after->count != before->count)) {
      return after->mistake.empty() ? spare::Result<void>() : spare::Error{after->mistake};
    }
    std::this_thread::sleep_for(poll);
  }
  return spare::Error{"spared has not answered within 10 s; see its log"};
}

}  // namespace sparectl
