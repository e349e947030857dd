// SPDX-License-Identifier: GPL-2.0-only
#include "pools.hpp"

#include <algorithm>
#include <map>

#include "duration.hpp"

namespace spare {
namespace {

std::string parent_of(const std::string& path) {
  const size_t slash = path.rfind('/');
  return slash == 0 || slash == std::string::npos ? "/" : path.substr(0, slash);
}

void add_provider(Pool& pool, const Vm& provider) {
  const std::string reservation = format_reservation(provider.reservation);
  pool.reservation = pool.providers.empty() || pool.reservation == reservation ? reservation : "various";
  pool.providers.push_back(provider.path);
  pool.lent_ns += provider.stat.number("lent_ns").value_or(0);
  pool.granted += provider.stat.number("granted").value_or(0);
  pool.blocked += provider.stat.number("blocked").value_or(0);
  for (const auto& [key, values] : provider.stat.entries()) {
    if (key.ends_with(".claimed")) {
      pool.servers++;
      pool.free += values.size() == 1 && values[0] == "0";
    }
  }
}

bool uses(const Vm& vm, const Pool& pool) {
  return std::any_of(vm.use.begin(), vm.use.end(), [&](const std::string& name) {
    return name == pool.path || std::find(pool.providers.begin(), pool.providers.end(), name) != pool.providers.end();
  });
}

}  // namespace

std::vector<Pool> pools_of(const std::vector<Vm>& vms) {
  std::map<std::string, Pool> found;
  for (const Vm& vm : vms) {
    if (vm.provider) {
      Pool& pool = found[parent_of(vm.path)];
      pool.path = parent_of(vm.path);
      add_provider(pool, vm);
    }
  }
  std::vector<Pool> pools;
  for (auto& [path, pool] : found) {
    for (const Vm& vm : vms) {
      if (!uses(vm, pool)) {
        continue;
      }
      pool.members++;
      pool.denied += vm.stat.number("denied").value_or(0);
    }
    pools.push_back(std::move(pool));
  }
  return pools;
}

}  // namespace spare
