// SPDX-License-Identifier: GPL-2.0-only
//
// sparectl plan: answers about systems that need not exist. Nothing is read of the running class.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "paths.hpp"
#include "util/result.hpp"

namespace sparectl {

// sparectl plan: how many spares do n VMs on one CPU need?
struct PlanOptions {
  unsigned vms = 0;
  std::string vm, spare;         // Q/P
  double rate_hz = 0;            // bursts of packets a second and VM
  unsigned burst = 1;            // packets at once
  double broadcast_hz = 0;       // packets to all VMs at the same instant
  std::string target = "0.001";  // share of claims that may be denied; also as 0.1%
  std::string grant = "2ms", packet = "20us";
  std::string packets;  // recorded arrivals, time_us,vm
  std::uint32_t limit_ppm = 900000;
  double seconds = 600;  // simulated, over all replicas; 0: no simulation
  std::uint64_t seed = 1;
  bool json = false;
};
spare::Result<void> plan(const PlanOptions& options);

// sparectl plan fit: do these VMs fit this host?
struct FitOptions {
  std::vector<std::string> vms;            // Q/P[xN][*vcpus]
  std::string file;                        // one of these per line
  unsigned cpus = 0;                       // 0: those of this machine
  std::string pool;                        // Qs/Ps[xK] on each CPU
  std::optional<std::uint32_t> limit_ppm;  // default: the loaded module's, else 900000
  bool json = false;
};
spare::Result<void> plan_fit(const spare::Roots& roots, const FitOptions& options);

}  // namespace sparectl
