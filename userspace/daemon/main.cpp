// SPDX-License-Identifier: GPL-2.0-only
//
// spared: loads the scheduling class, keeps an eye on it. Options and modes; the daemon is in daemon.cpp.
#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <chrono>
#include <filesystem>
#include <string>
#include <thread>

#include "class_loader.hpp"
#include "class_state.hpp"
#include "cli/options.hpp"
#include "config.hpp"
#include "daemon.hpp"
#include "guard.hpp"
#include "log.hpp"
#include "manager.hpp"
#include "meter/meter.hpp"
#include "meter/run.hpp"
#include "pinned_class.hpp"
#include "probe.hpp"
#include "util/files.hpp"

namespace {

constexpr int exit_usage = 2;

// What has been detached holds the module until the kernel has freed it: who unloads that next need not try twice.
void await_module(const spare::Roots& roots) {
  constexpr std::chrono::milliseconds pause{20}, longest{3000};
  for (auto waited = pause; waited < longest; waited += pause) {
    const auto users = spare::read_file(roots.module() / "refcnt");
    if (!users || spare::trim(*users) == "0") {
      return;
    }
    std::this_thread::sleep_for(pause);
  }
}

int stop(const spare::Roots& roots) {
  // A spared whose class has been ejected will load it again. (One whose class has been unloaded ends within some seconds.)
  if (const auto daemon = spare::running_daemon(); daemon && !std::filesystem::exists(spare::PinnedClass::directory(roots) / spare::pin::link)) {
    spdlog::error("no class is loaded, but spared runs, pid {}, and may load it again; end it first: systemctl stop spared, or kill {}", *daemon, *daemon);
    return 1;
  }
  if (auto meter = spare::unpin_meter(roots); !meter) {
    spdlog::error("{}", meter.error().text);
    return 1;
  }
  const auto unloaded = spare::PinnedClass::unload(roots);
  if (!unloaded && unloaded.error().code != ENOENT) {
    spdlog::error("{}", unloaded.error().text);
    return 1;
  }
  if (auto guard = spare::unpin_guard(roots); !guard) {
    spdlog::error("{}", guard.error().text);
    return 1;
  }
  spdlog::info(unloaded ? "the class is unloaded" : "no class is loaded");
  await_module(roots);
  return 0;
}

int restore(const spare::Roots& roots) {
  if (const auto daemon = spare::running_daemon()) {
    spdlog::error("spared runs, pid {}, and would cap them again; end it first", *daemon);
    return 1;
  }
  const auto restored = spare::restore_caps(roots);
  if (!restored) {
    spdlog::error("{}", restored.error().text);
    return 1;
  }
  spdlog::info("{} cgroups have their own cpu.max again", *restored);
  return 0;
}

const char* mark(spare::Finding::Kind kind) {
  switch (kind) {
    case spare::Finding::Kind::good:
      return "ok";
    case spare::Finding::Kind::note:
      return "note";
    case spare::Finding::Kind::missing:
      return "missing";
  }
  return "";
}

int check(const spare::Roots& roots) {
  const auto needs = spare::needs_of_class();
  if (!needs) {
    spdlog::error("{}", needs.error().text);
    return 1;
  }
  const auto findings = spare::probe(roots, *needs, spare::own_abi());
  for (const auto& finding : findings) {
    fmt::print("{:8} {}\n", mark(finding.kind), finding.what);
    if (!finding.remedy.empty()) {
      fmt::print("{:8}   {}\n", "", finding.remedy);
    }
  }
  return spare::usable(findings) ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  cli::App app{"Loads the scheduling class sched_spare and watches it, builds pools and places VMs as spared.toml(5) says. Ended by SIGTERM or killed, it leaves the class running; "
               "started again, it adopts it."};
  app.set_version_flag("--version", std::string("spared ") + SPARE_VERSION);
  bool want_stop = false;
  bool verbose = false;
  bool want_check = false;
  std::string root;
  std::string config = spare::config_path;
  auto* check_flag = app.add_flag("--check", want_check, "say what the class needs of this machine and what is missing, and end");
  auto* stop_flag = app.add_flag("--stop", want_stop, "unload the class, and the meter, and end")
      ->excludes(check_flag);
  app.add_option("--root", root, "with --check: look at DIR/proc and DIR/sys instead")->type_name("DIR")
      ->needs(check_flag);
  bool want_restore = false;
  auto* restore_flag = app.add_flag("--restore", want_restore, "give every cgroup back the cpu.max that its operator wrote, and end")
      ->excludes(check_flag)->excludes(stop_flag);
  bool want_meter = false;
  spare::MeterOptions meter;
  auto* meter_flag = app.add_flag("--meter", want_meter, "print who has had each CPU, until interrupted; read-only, needs neither class nor module")
      ->excludes(check_flag)->excludes(stop_flag)->excludes(restore_flag);
  app.add_flag("--json", meter.json, "with --meter: one object a line")->needs(meter_flag);
  app.add_option("--interval", meter.interval_s, "with --meter: seconds between two looks")->type_name("SECONDS")->check(cli::Range(0.1, 3600.0))
      ->capture_default_str()->needs(meter_flag);
  app.add_option("--count", meter.count, "with --meter: end after so many looks")->type_name("N")->needs(meter_flag);
  auto* vm_option = app.add_option("--vm", meter.vms, "with --meter: this cgroup is a VM, whatever runs in it")->type_name("CGROUP")->needs(meter_flag);
  auto* pinned_flag = app.add_flag("--pinned", meter.pinned, "with --meter: read what spared keeps ([meter] in spared.toml); attach nothing")->needs(meter_flag)->excludes(vm_option);
  app.add_flag("--total", meter.total, "with --meter --pinned: once, since counting began")->needs(pinned_flag);
  app.add_option("-c,--config", config, "read this file")->type_name("FILE")->capture_default_str();
  app.add_flag("-v,--verbose", verbose, "say more");
  if (const auto status = app.parse(argc, argv)) {
    return *status == 0 ? 0 : exit_usage;
  }

  spare::set_up_log(verbose);
  const spare::Roots roots = root.empty() ? spare::Roots() : spare::Roots::below(root);
  if (want_check) {
    return check(roots);
  }
  if (want_meter) {
    return spare::run_meter(roots, meter);
  }
  if (want_stop) {
    return stop(roots);
  }
  if (want_restore) {
    return restore(roots);
  }
  return spare::run_daemon(roots, config);
}
