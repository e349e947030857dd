// SPDX-License-Identifier: GPL-2.0-only
//
// What libvirt calls a VM, from the name of its cgroup: libvirt has systemd-machined make a scope below machine.slice, which nobody else makes there.
// (QEMU's command line says it too, and whoever has taken a QEMU over may change that; libvirt's files in /run are its own affair.)
#pragma once

#include <chrono>
#include <map>
#include <string>
#include <vector>

#include "metrics/snapshot.hpp"

namespace spare {

// "/machine.slice/machine-qemu\x2d1\x2dvm1.scope", or what is below it: "machine-qemu\x2d1\x2dvm1.scope"; else empty.
std::string machine_scope(const std::string& cgroup);
// Of that: "qemu-1-vm1"; empty: it is none.
std::string machine_of_scope(const std::string& scope);
// Of that: "vm1". Of the guest's name libvirt leaves out what machined does not take, and what is beyond 64 characters. Empty: not libvirt's.
std::string guest_of_machine(const std::string& machine);

// Names the VMs of a snapshot. UUIDs come from machined, over the system bus, once for each machine, so many at once at most and with a limit in time;
// what is not known yet comes with a later snapshot.
class Machines {
 public:
  void name(std::vector<MeasuredVm>& vms);

 private:
  std::map<std::string, std::string> uuids_;  // by scope; empty: machined has none
  std::chrono::steady_clock::time_point ask_;  // not before
};

}  // namespace spare
