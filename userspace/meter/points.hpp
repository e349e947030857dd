// SPDX-License-Identifier: GPL-2.0-only
#pragma once

#include <span>
#include <string>

namespace spare {

// Where the meter looks, and what cannot be told without.
struct MeterPoint {
  const char* program;  // in meter.bpf.c
  bool tracepoint;      // else a function
  const char* target;
  const char* module;  // "" the kernel itself
  const char* part;
  const char* instead = nullptr;  // a program that does the same: this one is only for kernels that lack that
  bool steered = false;           // only where packets of VMs' taps are served in softirqs
  bool limits = false;            // only of a meter that charges, where the module is there: what a limit drops (GUARD-1)
  bool tells = false;             // whether a thread is a vhost worker

  [[nodiscard]] std::string name() const;
};

// In the order in which they are attached: an end without a beginning is nothing. The first is the one without which there is no bill.
std::span<const MeterPoint> meter_points();

}  // namespace spare
