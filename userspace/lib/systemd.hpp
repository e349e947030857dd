// SPDX-License-Identifier: GPL-2.0-only
//
// Cgroups that systemd owns. Only it writes their files (one writer, docs/CGROUP_DELEGATION of systemd): what we want changed there we ask it for.
#pragma once

#include <cstddef>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "paths.hpp"
#include "util/result.hpp"

namespace spare {

// Is systemd process 1?
[[nodiscard]] bool systemd_runs(const Roots& roots);

// May a unit of systemd's have a cgroup of this name?
[[nodiscard]] bool is_unit_name(const std::string& name);

// What is systemd's on the way to a cgroup, by names: the root and, in it, slices; in the last of them there may be another unit.
struct SystemdPart {
  size_t slices = 0;    // so many parts of the path, the last one left out, are slices
  bool closed = false;  // the next one is a unit that systemd has not delegated: what is below it is systemd's, too
};
[[nodiscard]] SystemdPart systemd_part(const std::filesystem::path& mount, const std::vector<std::string>& path);

// The unit whose cgroup this is. Systemd alone writes its files, also where it has delegated it: what is below is then another's, the cgroup itself,
// its cpu.max too, is not (docs/CGROUP_DELEGATION of systemd).
[[nodiscard]] std::optional<std::string> systemds_unit(const std::filesystem::path& mount, const std::vector<std::string>& path);

// Has systemd write cpu.max ("QUOTA PERIOD" or "max ...") of a unit, until the next boot (SetUnitProperties, as systemctl set-property --runtime).
// Returns when it has taken the order, which it carries out soon. ENODEV: there is no such unit.
[[nodiscard]] Result<void> set_unit_cap(const std::string& unit, const std::string& cpu_max);

// Has systemd pass cpu, io and cpuset on to what is in a slice ("-.slice": the root), for as long as the host runs, and start the slice if it has
// not been. It enables those that a unit in the slice has a setting for: so there will be one, a slice without processes ("machine-spare.slice").
// Returns when systemd has taken the order, which it carries out soon.
[[nodiscard]] Result<void> ask_for_controllers(const std::string& slice);
[[nodiscard]] std::string controllers_unit(const std::string& slice);

// UUIDs of machines (names by scope, "machine-qemu\x2d1\x2dvm1.scope": "qemu-1-vm1"), as systemd-machined has them, by scope, in the form of libvirt;
// empty: it has none of that name and scope. Those that it has answered for within 0.2 s.
[[nodiscard]] std::map<std::string, std::string> machine_uuids(const std::map<std::string, std::string>& machines);

}  // namespace spare
