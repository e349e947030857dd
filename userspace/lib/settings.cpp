// SPDX-License-Identifier: GPL-2.0-only
#include "settings.hpp"

#include <algorithm>
#include <cstring>

#include "util/files.hpp"

namespace spare {
namespace {

// The writes that bring a file back to what it reads now. What a program has written is a program's again: "auto" replaces only that,
// so the file is handed back first.
Result<std::vector<Setting>> undo_of(const Cgroup& cgroup, const char* file) {
  auto now = cgroup.read(file);
  if (!now) {
    return now.error();
  }
  const auto stat = cgroup.read(file::stat);
  const auto is_auto = [&](const char* key) { return stat && FlatKeyed::parse(*stat).number(key) == 1U; };
  if (std::strcmp(file, file::cpus) == 0 && is_auto("cpus_auto")) {
    return std::vector<Setting>{{file, ""}, {file, "auto " + *now}};
  }
  if (std::strcmp(file, file::use) == 0 && is_auto("use_auto")) {
    return std::vector<Setting>{{file, "default"}, {file, "auto " + *now}};
  }
  return std::vector<Setting>{{file, std::move(*now)}};
}

Result<void> apply_in_order(const Cgroup& cgroup, const std::vector<Setting>& settings) {
  std::vector<Setting> undos;
  for (const Setting& setting : settings) {
    auto undo = undo_of(cgroup, setting.file);
    auto written = undo ? cgroup.write(setting.file, setting.value) : Result<void>(undo.error());
    if (written) {
      undos.insert(undos.begin(), undo->begin(), undo->end());
      continue;
    }
    Error error = written.error();
    for (const Setting& former : undos) {
      if (auto restored = cgroup.write(former.file, former.value); !restored) {
        error.text += "; and the former value could not be restored: " + restored.error().text;
      }
    }
    return error;
  }
  return {};
}

}  // namespace

Result<void> apply(const Cgroup& cgroup, std::vector<Setting> settings) {
  auto applied = apply_in_order(cgroup, settings);
  if (applied || (applied.error().code != EBUSY && applied.error().code != EINVAL)) {
    return applied;
  }
  const auto position = [&](const char* file) {
    return std::find_if(settings.begin(), settings.end(), [&](const Setting& s) { return std::strcmp(s.file, file) == 0; });
  };
  const auto reservation = position(file::reservation);
  const auto cpus = position(file::cpus);
  const bool refused = applied.error().code == EINVAL;
  if (cpus == settings.end() || (refused ? position(file::use) : reservation) == settings.end()) {
    return applied;
  }
  if (refused) {  // the old providers are on none of the new CPUs, perhaps
    settings.insert(settings.begin(), Setting{file::use, "none"});
  } else {
    std::iter_swap(reservation, cpus);
  }
  return apply_in_order(cgroup, settings) ? Result<void>() : applied;
}

std::vector<std::string> names_in(const std::string& text) { return text == "none" ? std::vector<std::string>() : split(text, " \n"); }

namespace {

// Q and P of a file that has them in microseconds, or "max".
Result<std::optional<Reservation>> read_share(const Cgroup& cgroup, const char* file) {
  const auto text = cgroup.read(file);
  if (!text) {
    return text.error();
  }
  if (*text == "max") {
    return std::optional<Reservation>();
  }
  const auto parts = split(*text, " ");
  const auto runtime = parts.size() == 2 ? as_integer(parts[0]) : std::nullopt;
  const auto period = parts.size() == 2 ? as_integer(parts[1]) : std::nullopt;
  if (!runtime || !period || *runtime < 0 || *period <= 0) {
    return Error{std::string(file) + " of " + cgroup.path() + " reads '" + *text + "', which this version does not understand"};
  }
  return std::optional(Reservation{static_cast<std::uint64_t>(*runtime), static_cast<std::uint64_t>(*period)});
}

}  // namespace

Result<std::optional<Reservation>> read_reservation(const Cgroup& cgroup) { return read_share(cgroup, file::reservation); }

Result<Vm> read_vm(const Cgroup& cgroup) {
  Vm vm;
  vm.path = cgroup.path();
  const auto reservation = read_reservation(cgroup);
  if (!reservation) {
    return reservation.error();
  }
  vm.reservation = *reservation;
  const auto text = [&](const char* file) { return cgroup.read(file); };
  // A file that this module does not have leaves its part empty.
  if (const auto cpus = text(file::cpus)) {
    vm.cpus = *cpus;
  }
  if (const auto provide = text(file::provide)) {
    vm.provider = *provide == "1";
  }
  if (const auto use = text(file::use)) {
    vm.use = names_in(*use);
  }
  if (const auto netdev = text(file::netdev)) {
    vm.netdev = names_in(*netdev);
  }
  if (const auto policy = text(file::policy)) {
    vm.policy = *policy;
  }
  if (const auto net_max = read_share(cgroup, file::net_max)) {
    vm.net_max = *net_max;
  }
  if (const auto stat = text(file::stat)) {
    vm.stat = FlatKeyed::parse(*stat);
  }
  if (const auto events = text(file::events)) {
    vm.events = FlatKeyed::parse(*events);
  }
  return vm;
}

}  // namespace spare
