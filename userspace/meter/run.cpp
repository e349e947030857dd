// SPDX-License-Identifier: GPL-2.0-only
#include "run.hpp"

#include <poll.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstring>

#include "bill.hpp"
#include "meter.hpp"
#include "print.hpp"
#include "util/signals.hpp"

namespace spare {
namespace {

using Clock = std::chrono::steady_clock;

void say_news(Meter& meter) {
  for (const std::string& news : meter.news()) {
    spdlog::warn("{}", news);
  }
}

Result<void> show(const Reading& before, const Reading& now, const MeterOptions& options) {
  Bill bill = between(before, now);
  std::stable_sort(bill.vms.begin(), bill.vms.end(), [](const VmBill& a, const VmBill& b) { return total(a.sum) > total(b.sum); });
  const std::string text = options.json ? as_json(bill, now.missing) : as_table(bill) + "\n";
  const bool written = std::fwrite(text.data(), 1, text.size(), stdout) == text.size() && std::fflush(stdout) == 0;
  return written ? Result<void>() : errno_error("the bill cannot be written");
}

// Waits for a signal, or until then, while the meter does what it has to.
Result<bool> interrupted(const Fd& signals, Meter& meter, Clock::time_point until) {
  for (;;) {
    std::array<pollfd, 2> fds = {{{signals.get(), POLLIN, 0}, {meter.fd(), POLLIN, 0}}};
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(until - Clock::now());
    ::poll(fds.data(), fds.size(), static_cast<int>(std::max<std::int64_t>(left.count(), 0)));
    if (next_signal(signals)) {
      return true;
    }
    if (fds[1].revents != 0) {
      if (auto turned = meter.turn(); !turned) {
        return turned.error();
      }
    }
    if (Clock::now() >= until) {
      return false;
    }
  }
}

Result<void> run(Meter& meter, const MeterOptions& options) {
  const Fd signals = open_signals({SIGTERM, SIGINT});
  auto before = meter.read();
  if (!before) {
    return before.error();
  }
  say_news(meter);
  if (options.total) {
    return show({}, *before, options);
  }
  const auto interval = std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(options.interval_s));
  auto due = Clock::now() + interval;
  for (unsigned shown = 0; options.count == 0 || shown < options.count; shown++) {
    const auto ended = interrupted(signals, meter, due);
    if (!ended || *ended) {
      return ended ? Result<void>() : ended.error();
    }
    auto now = meter.read();
    if (!now) {
      return now.error();
    }
    say_news(meter);
    if (auto shown_now = show(*before, *now, options); !shown_now) {
      return shown_now;
    }
    before = std::move(now);
    due = std::max(due + interval, Clock::now());
  }
  return {};
}

}  // namespace

int run_meter(const Roots& roots, const MeterOptions& options) {
  auto meter = options.pinned ? open_meter(roots) : attach_meter(roots, {options.vms, false});
  const auto ran = meter ? run(**meter, options) : Result<void>(meter.error());
  if (!ran) {
    spdlog::error("{}", ran.error().text);
    return 1;
  }
  return 0;
}

}  // namespace spare
