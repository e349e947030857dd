// SPDX-License-Identifier: GPL-2.0-only
//
// What the metrics are made from: the state of a host at one moment. Plain data, so that tests make it up.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "class_state.hpp"
#include "meter/cost_model.hpp"
#include "settings.hpp"

namespace spare {

// What only the daemon knows.
struct DaemonState {
  double started_s = 0;          // since 1970
  std::uint64_t ejections = 0;   // how often the kernel has ended the class since then
  std::uint64_t reloads = 0;     // how often the configuration was read again
  bool config_good = true;       // it was without a mistake the last time
  double pass_s = 0;             // the last pass took
};

// A cgroup with a reservation: a VM, or a provider of spare bandwidth.
struct MeasuredVm {
  Vm vm;  // of its files spare.stat, and what the last pass has read
  std::string name, uuid;  // libvirt's; empty: libvirt does not have it, or not known
  // CPU so far by kind, from the meter (spared(8)); empty: it does not run, and spare.stat says what it can.
  std::vector<std::pair<std::string, std::uint64_t>> billed_ns;
};

struct Snapshot {
  DaemonState daemon;
  ClassState scheduler;
  ModuleState module;
  std::string class_build;  // empty: no class of ours is loaded
  std::uint64_t host_overrun_ns = 0, host_valve_tasks = 0, host_floor_ns = 0;
  std::uint32_t limit_ppm = 0;                               // of admission
  std::vector<std::pair<unsigned, std::uint32_t>> taken_ppm;  // by CPU: what reservations, providers and SCHED_DEADLINE hold
  std::vector<MeasuredVm> vms;                                // by path
  CostModel model;                                            // of what packets cost
  double seconds = 0;                                         // that reading all this has taken
};

}  // namespace spare
