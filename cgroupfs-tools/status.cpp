// SPDX-License-Identifier: GPL-2.0-only
//
// sparectl status, sparectl show
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <sys/utsname.h>

#include <algorithm>
#include <array>

#include "advice.hpp"
#include "bill.hpp"
#include "class_loader.hpp"
#include "class_state.hpp"
#include "commands.hpp"
#include "ledger.hpp"
#include "pinned_class.hpp"
#include "pools.hpp"
#include "reload_report.hpp"
#include "util/files.hpp"
#include "vm_json.hpp"

namespace sparectl {
namespace {

using json = nlohmann::ordered_json;
using spare::Result;

std::string kernel_release() {
  utsname name{};
  return ::uname(&name) == 0 ? name.release : "unknown";
}

struct System {
  spare::ClassState scheduler;
  spare::ModuleState module;
  std::optional<unsigned> class_abi;
  std::uint64_t class_build = 0;           // spared replaces the class of another build
  std::uint64_t host_overrun_ns = 0;   // what pinned kernel threads took of reservations, beyond the host's share
  std::uint64_t host_valve_tasks = 0;  // host tasks that had to be let run before their turn
  std::uint64_t host_floor_ns = 0;     // run before the servers, when real-time threads leave too little
  std::optional<int> daemon;
  std::string daemon_version;  // empty: unknown

  // The class of these tools' build.
  [[nodiscard]] bool installed() const { return class_build == spare::own_build(); }
};

System read_system(const spare::Roots& roots) {
  System system{spare::read_class_state(roots), spare::read_module_state(roots), std::nullopt, 0, 0, 0, 0, spare::running_daemon(), {}};
  if (const auto pinned = spare::PinnedClass::open(roots)) {
    system.class_abi = pinned->globals().abi();
    system.class_build = pinned->globals().build();
    system.host_overrun_ns = pinned->globals().counter("host_overrun_ns");
    system.host_valve_tasks = pinned->globals().counter("host_valve_tasks");
    system.host_floor_ns = pinned->globals().counter("host_floor_ns");
  }
  if (const auto report = system.daemon ? spare::ReloadReport::read() : std::nullopt) {
    system.daemon_version = report->version;
  }
  return system;
}

std::string class_text(const System& system) {
  const spare::ClassState& scheduler = system.scheduler;
  if (!scheduler.present) {
    return "none: this kernel has no sched_ext";
  }
  if (scheduler.ours()) {
    return "enabled" + (system.class_abi ? fmt::format(", ABI {}, {}, build {}", *system.class_abi,
                                                       system.installed() ? "as installed" : "not as installed (restart spared)",
                                                       spare::build_text(system.class_build)) : std::string());
  }
  if (!scheduler.ops.empty() && scheduler.ops != spare::class_name) {
    return fmt::format("not loaded: the scheduler {} runs", scheduler.ops);
  }
  return "not loaded (" + scheduler.state + "): start spared";
}

std::string module_text(const spare::ModuleState& module) {
  if (!module.loaded) {
    return "not loaded";
  }
  return "loaded" + (module.version.empty() ? std::string() : ", version " + module.version) +
         (module.abi ? fmt::format(", ABI {}", *module.abi) : std::string());
}

std::string daemon_text(const System& system) {
  if (!system.daemon) {
    return "not running";
  }
  return fmt::format("running, pid {}", *system.daemon) + (system.daemon_version.empty() ? "" : ", version " + system.daemon_version);
}

std::string listed(const std::vector<std::string>& names) {
  return names.empty() ? "-" : spare::printable(fmt::format("{}", fmt::join(names, " ")));
}

std::string stat_text(const spare::Vm& vm, std::string_view key) {
  const auto number = vm.stat.number(key);
  return number ? std::to_string(*number) : "-";
}

// CPU time used, its own and borrowed.
std::string used_text(const spare::Vm& vm) {
  const auto own = vm.stat.number("used_ns"), borrowed = vm.stat.number("boost_ns");
  return own ? fmt::format("{:.3f}s", static_cast<double>(*own + borrowed.value_or(0)) / 1e9) : "-";
}

void print_table(const std::vector<std::vector<std::string>>& rows) {
  std::vector<size_t> widths(rows.front().size(), 0);
  for (const auto& row : rows) {
    for (size_t i = 0; i < row.size(); i++) {
      widths[i] = std::max(widths[i], row[i].size());
    }
  }
  for (const auto& row : rows) {
    std::string line;
    for (size_t i = 0; i < row.size(); i++) {
      line += fmt::format("{:{}}  ", row[i], widths[i]);
    }
    fmt::print("{}\n", line.substr(0, line.find_last_not_of(' ') + 1));
  }
}

Result<std::vector<spare::Vm>> read_vms(const spare::Roots& roots) {
  const auto tree = spare::CgroupTree::open(roots);
  if (!tree) {
    return tree.error();
  }
  const auto paths = tree->with_reservation();
  if (!paths) {
    return paths.error();
  }
  std::vector<spare::Vm> vms;
  for (const std::string& path : *paths) {
    const auto cgroup = tree->at(path);
    auto vm = cgroup ? spare::read_vm(*cgroup) : Result<spare::Vm>(cgroup.error());
    if (vm) {  // a cgroup that went away meanwhile is no error
      vms.push_back(std::move(*vm));
    }
  }
  return vms;
}

void print_keyed(const char* title, const spare::FlatKeyed& keyed) {
  fmt::print("{}\n", title);
  for (const auto& [key, values] : keyed.entries()) {
    fmt::print("  {:22} {}\n", key, fmt::join(values, " "));
  }
}

void print_pools(const std::vector<spare::Pool>& pools) {
  if (pools.empty()) {
    return;
  }
  std::vector<std::vector<std::string>> rows = {
      {"POOL", "SPARES", "EACH", "SERVERS", "FREE", "MEMBERS", "GRANTED", "BLOCKED", "DENIED"}};
  for (const spare::Pool& pool : pools) {
    rows.push_back({spare::printable(pool.path), std::to_string(pool.providers.size()), pool.reservation, std::to_string(pool.servers),
                    std::to_string(pool.free), std::to_string(pool.members), std::to_string(pool.granted),
                    std::to_string(pool.blocked), std::to_string(pool.denied)});
  }
  fmt::print("\n");
  print_table(rows);
}

// Why its CPUs are what they are, if spared chose them.
std::string placement_text(const spare::Cgroup& cgroup, const spare::Vm& vm) {
  return vm.cpus.empty() || spare::placed_by_program(cgroup) ? cgroup.mark(spare::mark::placement).value_or("") : "";
}

}  // namespace

Result<void> status(const spare::Roots& roots, bool as_json) {
  const System system = read_system(roots);
  const auto vms = read_vms(roots);
  if (!vms) {
    return vms.error();
  }
  const auto all_pools = spare::pools_of(*vms);
  if (as_json) {
    json list = json::array(), pools = json::array();
    for (const spare::Vm& vm : *vms) {
      list.push_back(vm_json(vm));
    }
    for (const spare::Pool& pool : all_pools) {
      pools.push_back(pool_json(pool));
    }
    const json all = {
        {"kernel", kernel_release()},
        {"class", {{"sched_ext", system.scheduler.present}, {"state", system.scheduler.state}, {"scheduler", system.scheduler.ops},
                   {"ours", system.scheduler.ours()}, {"abi", system.class_abi ? json(*system.class_abi) : json()},
                   {"build", system.class_build ? json(spare::build_text(system.class_build)) : json()},
                   {"installed", system.class_build ? json(system.installed()) : json()}, {"host_overrun_ns", system.host_overrun_ns}, {"host_valve_tasks", system.host_valve_tasks},
                   {"host_floor_ns", system.host_floor_ns}}},
        {"module", {{"loaded", system.module.loaded}, {"version", system.module.version}, {"abi", system.module.abi ? json(*system.module.abi) : json()}}},
        {"daemon", system.daemon ? json(*system.daemon) : json()},
        {"daemon_version", system.daemon_version.empty() ? json() : json(system.daemon_version)},
        {"pools", std::move(pools)},
        {"vms", std::move(list)}};
    fmt::print("{}\n", all.dump(2));
    return {};
  }
  fmt::print("class   {}\nmodule  {}\ndaemon  {}\nkernel  {}\ntools   version {}\n", class_text(system), module_text(system.module),
             daemon_text(system), kernel_release(), SPARE_VERSION);
  if (vms->empty()) {
    fmt::print("\nno cgroup has a reservation\n");
    return {};
  }
  std::vector<std::vector<std::string>> rows = {
      {"CGROUP", "RESERVATION", "CPUS", "ROLE", "USES", "NETDEV", "USED", "THROTTLED", "BOOSTS", "DENIED"}};
  for (const spare::Vm& vm : *vms) {
    rows.push_back({spare::printable(vm.path), spare::format_reservation(vm.reservation), vm.cpus.empty() ? "-" : vm.cpus,
                    vm.provider ? "provider" : "vm", listed(vm.use), listed(vm.netdev), used_text(vm),
                    stat_text(vm, "throttled"), stat_text(vm, "granted"), stat_text(vm, "denied")});
  }
  fmt::print("\n");
  print_table(rows);
  print_pools(all_pools);
  return {};
}

namespace {

// The largest budget among the providers that it may use, in us; 0: none, or not known.
std::uint64_t largest_spare_us(const spare::CgroupTree& tree, const spare::Vm& vm) {
  std::uint64_t largest = 0;
  for (const std::string& name : vm.use) {
    const auto provider = tree.at(name);
    const auto reservation = provider ? spare::read_reservation(*provider) : Result<std::optional<spare::Reservation>>(std::nullopt);
    if (reservation && *reservation) {
      largest = std::max<std::uint64_t>(largest, (*reservation)->runtime_us);
    }
  }
  return largest;
}

}  // namespace

Result<void> show(const spare::Roots& roots, const std::string& cgroup, bool as_json) {
  const auto tree = spare::CgroupTree::open(roots);
  if (!tree) {
    return tree.error();
  }
  const auto found = tree->at(cgroup);
  if (!found) {
    return found.error();
  }
  const auto vm = spare::read_vm(*found);
  if (!vm) {
    return vm.error();
  }
  const std::string placement = spare::printable(placement_text(*found, *vm));
  const std::string threads = vm->reservation && !vm->provider ? spare::printable(found->mark(spare::mark::threads).value_or("")) : "";
  const auto bill = bill_of(roots, vm->path);
  const auto advice = spare::advice(*vm, largest_spare_us(*tree, *vm));
  if (as_json) {
    json object = vm_json(*vm);
    object["advice"] = advice;
    object["bill"] = bill ? bill_json(*bill) : json();
    object["placement"] = placement.empty() ? json() : json(placement);
    object["threads"] = threads.empty() ? json() : json(threads);
    fmt::print("{}\n", object.dump(2));
    return {};
  }
  fmt::print("cgroup       {}\n", spare::printable(vm->path));
  fmt::print("reservation  {}{}\n", spare::format_reservation(vm->reservation),
             vm->reservation ? fmt::format("  ({:.4g} % of each CPU)", 100 * vm->reservation->utilisation()) : "");
  fmt::print("cpus         {}\n", vm->cpus.empty() ? "- (not placed)" : vm->cpus);
  if (!placement.empty()) {
    fmt::print("placement    by spared: {}\n", placement);
  }
  if (!threads.empty()) {
    fmt::print("threads      {}\n", threads);
  }
  fmt::print("provide      {}\nuse          {}\nnetdev       {}\nnet max      {}\npolicy       {}\n", vm->provider ? "yes" : "no", listed(vm->use),
             listed(vm->netdev), spare::format_reservation(vm->net_max), vm->policy.empty() ? "-" : vm->policy);
  if (vm->reservation && vm->policy.find("charge=debt") != std::string::npos && !meter_is_kept(roots)) {
    fmt::print("charge       nothing is charged: spared keeps no meter ([meter] in spared.toml)\n");
  }
  for (const std::string& line : advice) {
    fmt::print("advice       {}\n", spare::printable(line));
  }
  if (bill) {
    print_bill(*bill);
  }
  print_keyed("stat", vm->stat);
  print_keyed("events", vm->events);
  return {};
}

}  // namespace sparectl
