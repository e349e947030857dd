// SPDX-License-Identifier: GPL-2.0-only
//
// Samples for the tests of sparectl top.
#pragma once

#include <algorithm>
#include <initializer_list>
#include <memory>
#include <random>
#include <string>
#include <utility>

#include "top/interval.hpp"
#include "top/sample.hpp"

namespace top = sparectl::top;

inline top::VmSample vm_of(const std::string& path, std::initializer_list<std::pair<top::Counter, std::uint64_t>> values = {}) {
  top::VmSample vm;
  vm.path = path;
  vm.id = 1;
  vm.name = path.substr(path.rfind('/') + 1);
  vm.runtime_us = 40000;
  vm.period_us = 100000;
  vm.cpus = "1";
  vm.values.set(top::Counter::placed, 1);
  vm.values.set(top::Counter::nr_servers, 1);
  for (const auto& [counter, value] : values) {
    vm.values.set(counter, value);
  }
  return vm;
}

inline top::Sample sample_of(double seconds, std::vector<top::VmSample> vms) {
  top::Sample sample;
  sample.boot = "b";
  sample.class_runs = true;
  sample.state = "class enabled";
  sample.monotonic_ns = 1000000000 + static_cast<std::uint64_t>(seconds * 1e9);
  sample.real_ns = static_cast<std::int64_t>(1790000000e9 + seconds * 1e9);
  std::sort(vms.begin(), vms.end(), [](const auto& a, const auto& b) { return a.path < b.path; });
  sample.vms = std::move(vms);
  return sample;
}

inline top::SamplePtr shared(top::Sample sample) { return std::make_shared<const top::Sample>(std::move(sample)); }

// One second, in which the VM's counters grew from 0 by so much; as each of `before` and `now` says, else.
inline top::Interval second_of(std::vector<top::VmSample> now) {
  std::vector<top::VmSample> before = now;
  for (top::VmSample& vm : before) {
    for (std::size_t i = 0; i < top::counters; i++) {
      vm.values.value[i] = top::counter_table[i].gauge ? vm.values.value[i] : 0;
    }
    for (top::ServerSample& server : vm.servers) {
      server.used_ns = 0;
    }
  }
  return {shared(sample_of(0, std::move(before))), shared(sample_of(1, std::move(now)))};
}

// VMs that come and go, with counters that mostly grow.
inline top::Sample random_successor(const top::Sample& before, std::mt19937_64& random) {
  top::Sample sample = before;
  const auto chance = [&](unsigned of) { return random() % of == 0; };
  sample.boot = chance(40) ? "boot " + std::to_string(random() % 5) : before.boot;
  sample.monotonic_ns = chance(30) ? random() % 1000000000 : before.monotonic_ns + random() % 3000000000;
  sample.real_ns += static_cast<std::int64_t>(random() % 4000000000) - 500000000;
  sample.metered = chance(2);
  sample.state = chance(10) ? "state " + std::to_string(random() % 9) : before.state;
  std::erase_if(sample.vms, [&](const auto&) { return chance(10); });
  for (int i = chance(2) ? 2 : 0; i > 0; i--) {
    top::VmSample vm = vm_of("/vm/" + std::to_string(random() % 50));
    vm.id = random();
    vm.use = chance(2) ? "/pool" : "";
    vm.provider = chance(5);
    if (std::none_of(sample.vms.begin(), sample.vms.end(), [&](const auto& one) { return one.path == vm.path; })) {
      sample.vms.push_back(vm);
    }
  }
  for (top::VmSample& vm : sample.vms) {
    for (int i = 0; i < 8; i++) {
      const auto at = random() % top::counters;
      vm.values.known[at] = !chance(20);
      vm.values.value[at] = !vm.values.known[at] ? 0 : chance(30) ? random() : vm.values.value[at] + random() % 1000000;
    }
    vm.servers.resize(random() % 3);
    for (std::size_t i = 0; i < vm.servers.size(); i++) {
      vm.servers[i] = {static_cast<std::uint32_t>(i * 3), static_cast<top::ServerState>(random() % 5), chance(3), static_cast<std::int64_t>(random() % 1000) - 500, random(), random()};
    }
  }
  std::sort(sample.vms.begin(), sample.vms.end(), [](const auto& a, const auto& b) { return a.path < b.path; });
  sample.cpus.resize(1 + random() % 4);
  for (std::size_t i = 0; i < sample.cpus.size(); i++) {
    sample.cpus[i].cpu = static_cast<std::uint32_t>(i);
    sample.cpus[i].values.set(static_cast<top::CpuCounter>(random() % top::cpu_counters), random());
  }
  return sample;
}
