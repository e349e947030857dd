// SPDX-License-Identifier: GPL-2.0-only
#include "daemon.hpp"

#include <poll.h>
#include <spdlog/spdlog.h>
#include <sysexits.h>
#include <systemd/sd-daemon.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <csignal>
#include <optional>

#include "class_loader.hpp"
#include "class_watch.hpp"
#include "manager.hpp"
#include "meter_keeper.hpp"
#include "metrics/billed.hpp"
#include "metrics/machines.hpp"
#include "metrics/metrics.hpp"
#include "pass_clock.hpp"
#include "pid_file.hpp"
#include "reload_report.hpp"
#include "util/signals.hpp"

namespace spare {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

// How often spare.events says whether threads have left their servers: a move is done within a second.
constexpr milliseconds look_interval{500};

void wait(const Fd& signals, const Watcher& watcher, const MeterKeeper& meter, const Metrics& metrics, Clock::time_point until) {
  std::array<pollfd, 5> fds = {{{signals.get(), POLLIN, 0},
                                {watcher.cgroups(), POLLIN, 0},
                                {watcher.uevents(), POLLIN, 0},
                                {meter.fd(), POLLIN, 0},
                                {metrics.fd(), POLLIN, 0}}};
  const auto left = std::chrono::ceil<milliseconds>(until - Clock::now());
  ::poll(fds.data(), fds.size(), static_cast<int>(std::clamp(left, milliseconds{0}, PassClock::interval).count()));
}

// The default file may be missing as long as it has not been there: one that is gone, or another one, is a mistake.
struct ConfigFile {
  std::filesystem::path path;
  bool was_there = false;

  Result<Config> read() {
    auto config = read_config(path);
    if (!config && config.error().code == ENOENT && path == config_path && !was_there) {
      spdlog::info("{} is not there: no pools, no meter", path.string());
      return Config();
    }
    was_there = was_there || config;
    return config;
  }
};

// Reads the configuration again. A broken one changes nothing.
void reload(Manager& manager, MeterKeeper& meter, Metrics& metrics, ConfigFile& file, ReloadReport& report) {
  auto config = file.read();
  report.count++;
  report.mistake = config ? "" : config.error().text;
  if (config) {
    spdlog::info("configuration {} is in force", file.path.string());
    const bool metered = config->meter;
    metrics.configure(config->metrics);
    manager.configure(std::move(*config));
    manager.pass();
    meter.configure(metered);
  } else {
    spdlog::error("{}; the former configuration stays", config.error().text);
  }
  if (auto written = report.write(); !written) {
    spdlog::warn("{}", written.error().text);
  }
}

int watch(const Fd& signals, ClassWatch& watched, Manager& manager, MeterKeeper& meter, const MetricsConfig& metrics_config,
          ConfigFile& file) {
  PassClock clock(Clock::now());
  auto look = Clock::now();
  ReloadReport report;
  Machines machines;
  const double started_s = std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
  double pass_s = 0;
  Metrics metrics([&] {
    Snapshot now = manager.snapshot();
    machines.name(now.vms);
    if (const auto reading = meter.read()) {
      add_billed(now.vms, *reading);
    }
    now.model = meter.model();
    now.daemon = {started_s, watched.ejections(), report.count, report.mistake.empty(), pass_s};
    return now;
  });
  metrics.configure(metrics_config);
  for (;;) {
    while (const auto signal = next_signal(signals)) {
      if (*signal != SIGHUP) {
        spdlog::info("ending on signal {}; the class stays, `spared --stop` unloads it", *signal);
        sd_notify(0, "STOPPING=1");
        return 0;
      }
      reload(manager, meter, metrics, file, report);
    }
    const auto heard = manager.watcher().drain();
    if (heard.uevent || Clock::now() >= watched.next()) {
      if (const auto status = watched.look()) {
        return *status;
      }
    }
    meter.turn();
    if (heard.reason) {
      clock.reason(Clock::now());
    }
    if (Clock::now() >= look) {
      if (manager.threads_changed()) {
        clock.reason(Clock::now());
      }
      look = Clock::now() + look_interval;
    }
    if (Clock::now() >= clock.due()) {
      const auto began = Clock::now();
      manager.pass();
      const auto ended = Clock::now();
      clock.done(ended, ended - began);
      pass_s = std::chrono::duration<double>(ended - began).count();
    }
    metrics.turn();
    wait(signals, manager.watcher(), meter, metrics, std::min({clock.due(), watched.next(), look, metrics.next()}));
  }
}

}  // namespace

int run_daemon(const Roots& roots, const std::filesystem::path& config_file) {
  const Fd signals = open_signals({SIGTERM, SIGINT, SIGHUP});
  const auto fail = [](const Error& error) {
    spdlog::error("{}", error.text);
    return 1;
  };
  const auto alone = PidFile::take(std::filesystem::path(run_dir) / "spared.pid");
  if (!alone) {
    return fail(alone.error());
  }
  ConfigFile file{config_file};
  auto config = file.read();
  if (!config) {
    fail(config.error());
    return EX_CONFIG;  // the unit does not start it again
  }
  auto tree = CgroupTree::open(roots);
  if (!tree) {
    return fail(tree.error());
  }
  const bool metered = config->meter;
  const MetricsConfig metrics = config->metrics;
  Manager manager(roots, std::move(*tree), std::move(*config));
  // Reservations that came while no spared ran have no cap yet; without the class they would be unlimited.
  ClassWatch watched(roots, [&] { manager.pass(); });
  if (auto started = watched.start(); !started) {
    return fail(started.error());
  }
  spdlog::info("READY: class {} runs, ABI {}", class_name, own_abi());
  sd_notify(0, "READY=1\nSTATUS=class enabled");
  static_cast<void>(ReloadReport().write());
  MeterKeeper meter(roots);
  meter.configure(metered);
  return watch(signals, watched, manager, meter, metrics, file);
}

}  // namespace spare
