// SPDX-License-Identifier: GPL-2.0-only
//
// From a snapshot to what Prometheus reads. Pure.
//
// Rules: base units (seconds, ratios). No counter is a sum over VMs or providers: it would fall when one of them goes, and Prometheus takes what falls
// for something that began anew. Who wants sums has sum(). Only a cgroup with a reservation has series, so it is the operator who decides how many
// there are, not who starts VMs. A VM that comes back under its name begins at 0, all its counters together, as Prometheus expects.
#pragma once

#include <prometheus/metric_family.h>

#include <string>
#include <vector>

#include "metrics/snapshot.hpp"

namespace spare {

std::vector<prometheus::MetricFamily> families_of(const Snapshot& snapshot);

// The label "vm" of each, in their order, no two alike: libvirt's name; else, or where two have that, the cgroup's path, printable.
std::vector<std::string> vm_labels(const std::vector<MeasuredVm>& vms);

// In Prometheus's text format 0.0.4.
std::string as_text(const std::vector<prometheus::MetricFamily>& families);

}  // namespace spare
