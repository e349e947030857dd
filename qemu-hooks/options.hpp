// SPDX-License-Identifier: GPL-2.0-only
#pragma once

#include <optional>
#include <set>
#include <string>
#include <vector>

namespace spare_qemu {

struct Options {
  std::string reservation;  // as `sparectl set` takes it; empty: QEMU is started as if the wrapper were not there
  std::string cpus;
  std::string use;
  std::string policy;
  std::string net_max;
  std::string cgroup;               // default: /vm/<name of the guest>
  std::string binary;               // the real QEMU
  std::vector<std::string> qemu;    // its arguments
};

// The command line over the environment (SPARE_RESERVATION, SPARE_CPUS, SPARE_USE, SPARE_POLICY, SPARE_CGROUP,
// SPARE_QEMU_BINARY). Called as qemu-system-*, everything but --spare-* is QEMU's. A number: print nothing more, exit with it.
struct Parsed {
  Options options;
  std::optional<int> exit;
};
Parsed parse_options(int argc, char** argv);

// What QEMU's arguments say.
std::string guest_name(const std::vector<std::string>& qemu);           // -name; empty when it is not given
std::vector<std::string> tap_names(const std::vector<std::string>& qemu);  // ifname= of -netdev tap and -nic tap
// What carries packets past every tap, so that none of them is seen: "user", "vhost-user", "vfio-pci" and the like.
std::set<std::string> unseen_networks(const std::vector<std::string>& qemu);
bool has_flag(const std::vector<std::string>& qemu, const std::string& flag);  // "daemonize": -daemonize or --daemonize
bool only_asks(const std::vector<std::string>& qemu);  // -help, -version, -machine none (libvirt's probing): no guest

}  // namespace spare_qemu
