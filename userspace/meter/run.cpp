// SPDX-License-Identifier: GPL-2.0-only
#include "run.hpp"

#include <poll.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <csignal>
#include <cstring>

#include "bill.hpp"
#include "counted.hpp"
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

// False: a signal came.
Result<bool> show(const Fd& signals, Bill bill, const std::vector<MissingPart>& missing, const MeterOptions& options, const CostModel* model) {
  std::stable_sort(bill.vms.begin(), bill.vms.end(), [](const VmBill& a, const VmBill& b) { return total(a.sum) > total(b.sum); });
  const std::string text = options.json ? as_json(bill, missing, model) : as_table(bill) + "\n";
  const auto written = write_until_signal(STDOUT_FILENO, signals, text);
  return written ? written : written.error().while_doing("the bill");
}

// Waits for a signal, or until then, while the meter does what it has to.
bool interrupted(const Fd& signals, Meter& meter, Clock::time_point until) {
  for (;;) {
    std::array<pollfd, 2> fds = {{{signals.get(), POLLIN, 0}, {meter.fd(), POLLIN, 0}}};
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(until - Clock::now());
    ::poll(fds.data(), fds.size(), static_cast<int>(std::max<std::int64_t>(left.count(), 0)));
    if (next_signal(signals)) {
      return true;
    }
    if (fds[1].revents != 0) {
      meter.turn();
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
    const auto shown = show(signals, between({}, *before), before->missing, options, nullptr);
    return shown ? Result<void>() : shown.error();
  }
  Counted counted;
  const auto interval = std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(options.interval_s));
  auto due = Clock::now() + interval;
  for (unsigned shown = 0; options.count == 0 || shown < options.count; shown++) {
    if (interrupted(signals, meter, due)) {
      return {};
    }
    auto now = meter.read();
    if (!now) {
      return now.error();
    }
    say_news(meter);
    Bill bill = between(*before, *now);
    if (options.json) {
      counted.look(bill);
    }
    if (const auto written = show(signals, std::move(bill), now->missing, options, &counted.model()); !written || !*written) {
      return written ? Result<void>() : written.error();
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
