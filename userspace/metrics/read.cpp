// SPDX-License-Identifier: GPL-2.0-only
#include "metrics/read.hpp"

#include <algorithm>

#include "pinned_class.hpp"

namespace spare {

Snapshot read_snapshot(const Roots& roots, const CgroupTree& tree, const Ledger& ledger, const Cpus& online) {
  Snapshot now;
  now.scheduler = read_class_state(roots);
  now.module = read_module_state(roots);
  if (const auto pinned = PinnedClass::open(roots)) {
    const ClassGlobals& globals = pinned->globals();
    now.class_build = build_text(globals.build());
    now.host_overrun_ns = globals.counter("host_overrun_ns");
    now.host_valve_tasks = globals.counter("host_valve_tasks");
    now.host_floor_ns = globals.counter("host_floor_ns");
  }
  now.limit_ppm = ledger.limit_ppm();
  for (const unsigned cpu : online) {
    now.taken_ppm.emplace_back(cpu, ledger.taken_ppm(cpu));
  }
  for (const Claim& claim : ledger.claims()) {
    const auto cgroup = claim.reservation ? tree.at(claim.path) : Result<Cgroup>(Error{});
    const auto stat = cgroup ? cgroup->read(file::stat) : Result<std::string>(cgroup.error());
    if (!stat) {
      continue;  // it has gone since the ledger was made
    }
    Vm vm;
    vm.path = claim.path;
    vm.reservation = claim.reservation;
    vm.provider = claim.provider;
    vm.use = names_in(claim.use);
    vm.stat = FlatKeyed::parse(*stat);
    now.vms.push_back({std::move(vm), {}, {}, {}});
  }
  std::sort(now.vms.begin(), now.vms.end(), [](const MeasuredVm& a, const MeasuredVm& b) { return a.vm.path < b.vm.path; });
  return now;
}

}  // namespace spare
