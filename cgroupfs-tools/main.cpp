// SPDX-License-Identifier: GPL-2.0-only
//
// sparectl: the command line; the commands are in status.cpp and change.cpp, plan.cpp, and top/.
#include <fmt/format.h>

#include <cstdio>
#include <functional>

#include "calibrate_command.hpp"
#include "cli/options.hpp"
#include "commands.hpp"
#include "plan_command.hpp"
#include "top/command.hpp"
#include "util/files.hpp"

namespace {

enum ExitStatus { exit_ok = 0, exit_failed = 1, exit_usage = 2, exit_exists = 3 };

constexpr const char* reservation_help =
    "runtime/period on each CPU of --cpus: 40ms/100ms, 400us/4ms, or 40000/100000 in microseconds; 40%: of 100 ms; max: none";

// The options of set and run.
void add_changes(cli::App* command, sparectl::SetOptions& set) {
  command->add_option("-r,--reservation", set.reservation, reservation_help)->type_name("Q/P");
  command->add_option("-c,--cpus", set.cpus, "CPUs on which it has its reservation: 1-2,4; none: not placed")->type_name("LIST");
  command->add_flag("-p,--provide,!--no-provide", set.provide, "its reservation provides spare bandwidth");
  command->add_option("-u,--use", set.use, "providers it may borrow from, in order; none: no more; default: what spared.toml says")
      ->type_name("CGROUP,...")
      ->delimiter(',')
      ->allow_extra_args(false);
  command->add_option("-n,--netdev", set.netdev, "taps whose packets are its own; none: no more")
      ->type_name("IF,...")
      ->delimiter(',')
      ->allow_extra_args(false);
  command->add_option("--net-max", set.net_max, "CPU that network work for it may use, vhost and softirqs, as a reservation: 500us/10ms; P is 100ms at most; max: no limit")->type_name("Q/P");
  command->add_option("--policy", set.policy, "how spare bandwidth is granted: grant_us, chances, window_us, gain_us, payback, wait, hasten; whether the VM pays for softirqs that serve its packets: charge (debt, none), interval_us")
      ->type_name("KEY=VALUE,...")
      ->delimiter(',')
      ->allow_extra_args(false);
  command->add_flag("--create", set.create, "make the cgroup when it is not there");
}

// Adds the commands; the one that was given leaves what it does in `action`.
void add_commands(cli::App& app, const spare::Roots& roots, sparectl::SetOptions& set, std::string& cgroup,
                  std::vector<std::string>& words, bool& flag, std::function<spare::Result<void>()>& action) {
  const auto add = [&](const char* name, const char* help) {
    cli::App* command = app.add_subcommand(name, help);
    command->fallthrough(false);
    return command;
  };
  const auto with_cgroup = [&](cli::App* command) {
    command->add_option("CGROUP", cgroup, "path from the root of the cgroup v2 hierarchy: /vm/vm1")->required();
    return command;
  };

  cli::App* status = add("status", "class, module, daemon, pools, and every cgroup with a reservation");
  status->add_flag("--json", flag, "for programs");
  status->callback([&] { action = [&] { return sparectl::status(roots, flag); }; });

  cli::App* show = with_cgroup(add("show", "everything about one cgroup"));
  show->add_flag("--json", flag, "for programs");
  show->callback([&] { action = [&] { return sparectl::show(roots, cgroup, flag); }; });

  cli::App* change = with_cgroup(add("set", "change a cgroup: all that is asked for, or nothing"));
  add_changes(change, set);
  change->callback([&] {
    action = [&] {
      set.cgroup = cgroup;
      return sparectl::set(roots, set);
    };
  });

  cli::App* link = with_cgroup(add("link", "let a cgroup borrow from providers, after those it has"));
  link->add_option("PROVIDER", words, "cgroups with spare.provide 1, or the parent of such")->required();
  link->callback([&] { action = [&] { return sparectl::link(roots, cgroup, words); }; });

  cli::App* unlink = with_cgroup(add("unlink", "stop a cgroup from borrowing, from some or all of its providers"));
  unlink->add_option("PROVIDER", words, "which; default: all");
  unlink->callback([&] { action = [&] { return sparectl::unlink(roots, cgroup, words); }; });

  cli::App* create = with_cgroup(add("create", "make a cgroup with the controllers that a VM needs; prints its directory"));
  create->add_flag("--exclusive", flag, "not when it is there already: exit status 3");
  create->callback([&] { action = [&] { return sparectl::create(roots, cgroup, flag); }; });

  cli::App* remove = with_cgroup(add("remove", "kill what is in a cgroup and below, and remove it"));
  remove->add_flag("-f,--force", flag, "also one that sparectl has not made");
  remove->callback([&] { action = [&] { return sparectl::remove(roots, cgroup, flag); }; });

  cli::App* run = with_cgroup(add("run", "run a command in a cgroup, changed before as by set"));
  add_changes(run, set);
  run->add_option("COMMAND", words, "the command and its arguments, after --")->required();
  run->callback([&] {
    action = [&] {
      set.cgroup = cgroup;
      return sparectl::run(roots, set, words);
    };
  });

  cli::App* reload = add("reload", "let spared read its configuration again");
  reload->callback([&] { action = [] { return sparectl::reload(); }; });

  cli::App* unload = add("unload", "unload the class: every task is back with the kernel's scheduler");
  unload->callback([&] { action = [&] { return sparectl::unload(roots); }; });
}

}  // namespace

int main(int argc, char** argv) {
  cli::App app{"Reserves CPU for cgroups (virtual machines) and shows what became of it. See sparectl(1)."};
  app.set_version_flag("--version", std::string("sparectl ") + SPARE_VERSION);
  app.require_subcommand(1);
  const spare::Roots roots;
  sparectl::SetOptions set;
  std::string cgroup;
  std::vector<std::string> words;
  bool flag = false;  // of the command that was given
  std::function<spare::Result<void>()> action;
  add_commands(app, roots, set, cgroup, words, flag, action);
  const sparectl::CalibrateCommand calibrate(app, roots, action);
  const sparectl::PlanCommand plan(app, roots, action);
  const sparectl::top::TopCommand top(app, roots, action);
  if (const auto status = app.parse(argc, argv)) {
    return *status == 0 ? exit_ok : exit_usage;
  }
  if (auto done = action(); !done) {
    fmt::print(stderr, "sparectl: {}\n", spare::printable_lines(done.error().text));
    return done.error().code == EEXIST && flag ? exit_exists : exit_failed;
  }
  return exit_ok;
}
