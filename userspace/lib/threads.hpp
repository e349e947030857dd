// SPDX-License-Identifier: GPL-2.0-only
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "cgroup.hpp"
#include "cpu_list.hpp"

namespace spare {

struct Thread {
  std::string id;
  std::string name;
  Cpus allowed;           // by its affinity and its cpuset; empty: not known
  bool realtime = false;  // SCHED_FIFO, SCHED_RR or SCHED_DEADLINE
};

// "CPU 3/KVM": how QEMU names a vCPU's thread, given -name debug-threads=on (libvirt gives it; spare-qemu(1) says more).
bool is_vcpu_name(std::string_view comm);
// All threads of the cgroup and of those below it that have no servers of their own (CBS-10); those that vanish meanwhile are left out.
std::vector<Thread> threads_in(const Roots& roots, const CgroupTree& tree, const std::string& path);
// Those of them with a vCPU's name.
std::vector<Thread> vcpus_of(const std::vector<Thread>& threads);

}  // namespace spare
