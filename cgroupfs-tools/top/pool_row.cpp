// SPDX-License-Identifier: GPL-2.0-only
#include "top/pool_row.hpp"

#include <algorithm>
#include <map>

#include "sim/erlang.hpp"
#include "util/files.hpp"

namespace sparectl::top {
namespace {

std::string parent_of(const std::string& path) {
  const auto slash = path.rfind('/');
  return slash == 0 || slash == std::string::npos ? "/" : path.substr(0, slash);
}

void add(std::optional<double>& sum, std::optional<double> value) {
  if (value) {
    sum = sum.value_or(0) + *value;
  }
}

void add_provider(PoolPair& pool, const VmPair& provider) {
  const VmSample& now = *provider.now;
  const bool same = pool.providers == 0 || (pool.runtime_us == now.runtime_us && pool.period_us == now.period_us);
  pool.runtime_us = same ? now.runtime_us : 0;
  pool.period_us = same ? now.period_us : 0;
  pool.providers++;
  pool.seconds = provider.seconds;
  for (const ServerSample& server : now.servers) {
    pool.servers++;
    pool.free += server.claimed ? 0 : 1;
    pool.bandwidth += now.period_us == 0 ? 0 : static_cast<double>(now.runtime_us) / static_cast<double>(now.period_us);
    pool.cpus.push_back(server.cpu);
  }
  add(pool.lent_ns, provider.had(Counter::lent_ns));
  add(pool.granted, provider.had(Counter::granted));
  add(pool.blocked, provider.had(Counter::blocked));
}

void count_cpus(PoolPair& pool) {
  std::sort(pool.cpus.begin(), pool.cpus.end());
  for (std::size_t i = 0, run = 0; i < pool.cpus.size(); i++) {
    run = i > 0 && pool.cpus[i] == pool.cpus[i - 1] ? run + 1 : 1;
    pool.most_on_a_cpu = std::max(pool.most_on_a_cpu, static_cast<unsigned>(run));
  }
  pool.cpus.erase(std::unique(pool.cpus.begin(), pool.cpus.end()), pool.cpus.end());
}

}  // namespace

std::optional<double> PoolPair::lent_share() const {
  return lent_ns && bandwidth > 0 && seconds > 0 ? std::optional(*lent_ns / (bandwidth * seconds * 1e9)) : std::nullopt;
}

// Offered on each CPU. What was lent is what was carried: a spare that is held runs most of the time that its bandwidth allows.
std::optional<double> PoolPair::erlangs() const {
  const auto share = lent_share();
  return share && !cpus.empty() ? std::optional(*share * servers / static_cast<double>(cpus.size())) : std::nullopt;
}

std::optional<double> PoolPair::expected_blocking() const {
  const auto load = erlangs();
  return load ? std::optional(spare::sim::erlang_b(most_on_a_cpu, *load)) : std::nullopt;
}

std::optional<double> PoolPair::seen_blocking() const {
  const double asked = granted.value_or(0) + blocked.value_or(0);
  return granted && blocked && asked > 0 ? std::optional(*blocked / asked) : std::nullopt;
}

std::optional<unsigned> PoolPair::size_for(double target) const {
  const auto load = erlangs();
  return load ? spare::sim::erlang_b_servers(*load, target, 64) : std::nullopt;
}

bool uses(const VmSample& vm, const PoolPair& pool) {
  const auto names = spare::split(vm.use, " ");
  return std::any_of(names.begin(), names.end(), [&](const std::string& name) { return name == pool.path || parent_of(name) == pool.path; });
}

std::vector<PoolPair> pools_in(const Interval& interval) {
  std::map<std::string, PoolPair> found;
  for (const VmPair& vm : interval.vms()) {
    if (vm.now->provider) {
      PoolPair& pool = found[parent_of(vm.now->path)];
      pool.path = parent_of(vm.now->path);
      add_provider(pool, vm);
    }
  }
  std::vector<PoolPair> pools;
  for (auto& [path, pool] : found) {
    count_cpus(pool);
    pools.push_back(std::move(pool));
  }
  for (const VmPair& vm : interval.vms()) {
    for (PoolPair& pool : pools) {
      if (!vm.now->provider && uses(*vm.now, pool)) {
        pool.members++;
        add(pool.denied, vm.had(Counter::denied));
      }
    }
  }
  return pools;
}

}  // namespace sparectl::top
