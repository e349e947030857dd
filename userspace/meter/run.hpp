// SPDX-License-Identifier: GPL-2.0-only
#pragma once

#include <string>
#include <vector>

#include "paths.hpp"

namespace spare {

struct MeterOptions {
  bool json = false;
  bool pinned = false;  // read what spared keeps
  bool total = false;   // once, since counting began
  double interval_s = 1;
  unsigned count = 0;             // looks; 0: until SIGINT or SIGTERM
  std::vector<std::string> vms;  // cgroups that are VMs whatever runs in them
};

// spared --meter: prints the bill. Changes nothing on the host. Returns the exit status.
int run_meter(const Roots& roots, const MeterOptions& options);

}  // namespace spare
