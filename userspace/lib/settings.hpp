// SPDX-License-Identifier: GPL-2.0-only
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "cgroup.hpp"
#include "duration.hpp"
#include "flat_keyed.hpp"

namespace spare {

// A value for one of a cgroup's files.
struct Setting {
  const char* file;
  std::string value;
};

// Writes all of them or none: when one is refused, the earlier ones get their former values back. Where a change of both
// reservation and CPUs is refused in one order because the state between them does not fit (admission), the other is tried; where one of CPUs and
// providers is, as the old providers are on none of the new CPUs, the list is emptied first.
Result<void> apply(const Cgroup& cgroup, std::vector<Setting> settings);

// Everything a cgroup's files say.
struct Vm {
  std::string path;
  std::optional<Reservation> reservation;
  std::string cpus;
  bool provider = false;
  std::vector<std::string> use;
  std::vector<std::string> netdev;
  std::string policy;
  std::optional<Reservation> net_max;  // what its network work may use (GUARD-1)
  FlatKeyed stat;
  FlatKeyed events;
};
Result<Vm> read_vm(const Cgroup& cgroup);
// The names in spare.use or spare.netdev, as it reads.
std::vector<std::string> names_in(const std::string& text);
// Its reservation alone; nothing: none.
Result<std::optional<Reservation>> read_reservation(const Cgroup& cgroup);

}  // namespace spare
