// SPDX-License-Identifier: GPL-2.0-only
#include "top/interval.hpp"

#include <algorithm>
#include <limits>

namespace sparectl::top {
namespace {

constexpr double ns_per_s = 1e9;

template <typename Name, std::size_t n>
std::optional<double> grown(const Values<Name, n>& before, const Values<Name, n>& now, Name name) {
  const auto from = before.get(name), to = now.get(name);
  return from && to && *to >= *from ? std::optional(static_cast<double>(*to - *from)) : std::nullopt;
}

std::optional<double> over(std::optional<double> value, double by) { return value && by > 0 ? std::optional(*value / by) : std::nullopt; }

// Seconds between two samples; 0 where they have no common clock.
double between(const Sample& before, const Sample& now) {
  return before.boot == now.boot && now.monotonic_ns > before.monotonic_ns
             ? static_cast<double>(now.monotonic_ns - before.monotonic_ns) / ns_per_s
             : 0;
}

// The partner of each, both sorted by key.
template <typename T, typename Pair, typename Key>
std::vector<Pair> pairs(const std::vector<T>* before, const std::vector<T>& now, double seconds, Key key) {
  std::vector<Pair> all;
  all.reserve(now.size());
  std::size_t at = 0;
  for (const T& one : now) {
    Pair pair{&one, nullptr, seconds};
    while (before != nullptr && at < before->size() && key((*before)[at]) < key(one)) {
      at++;
    }
    if (before != nullptr && at < before->size() && key((*before)[at]) == key(one)) {
      pair.before = &(*before)[at];
    }
    all.push_back(pair);
  }
  return all;
}

}  // namespace

std::optional<double> VmPair::had(Counter counter) const {
  return before != nullptr && seconds > 0 ? grown(before->values, now->values, counter) : std::nullopt;
}
std::optional<double> VmPair::per_second(Counter counter) const { return over(had(counter), seconds); }
std::optional<double> VmPair::percent(Counter counter) const { return over(had(counter), seconds * ns_per_s / 100); }

std::optional<double> VmPair::value(Counter counter) const {
  const auto known = now->values.get(counter);
  return known ? std::optional(static_cast<double>(*known)) : std::nullopt;
}

std::optional<double> VmPair::latency_us(double part) const {
  std::array<double, lat_buckets> in{};
  double all = 0;
  for (std::size_t i = 0; i < lat_buckets; i++) {
    in[i] = had(lat(i)).value_or(0);
    all += in[i];
  }
  if (all == 0) {
    return std::nullopt;
  }
  double below = 0;
  for (std::size_t i = 0; i + 1 < lat_buckets; i++) {
    below += in[i];
    if (below >= part * all) {
      return static_cast<double>(lat_limit_ns(i)) / 1000;
    }
  }
  return std::numeric_limits<double>::infinity();
}

std::optional<double> VmPair::billed() const {
  std::optional<double> sum;
  for (auto i = static_cast<std::size_t>(Counter::bill_guest); i <= static_cast<std::size_t>(Counter::bill_irq); i++) {
    if (const auto part = had(static_cast<Counter>(i))) {
      sum = sum.value_or(0) + *part;
    }
  }
  return sum;
}

std::optional<double> VmPair::server_used(std::uint32_t cpu) const {
  const auto of = [cpu](const VmSample* vm) -> std::optional<std::uint64_t> {
    if (vm == nullptr) {
      return std::nullopt;
    }
    const auto found = std::find_if(vm->servers.begin(), vm->servers.end(), [cpu](const ServerSample& server) { return server.cpu == cpu; });
    return found == vm->servers.end() ? std::nullopt : std::optional(found->used_ns);
  };
  const auto from = of(before), to = of(now);
  return from && to && *to >= *from && seconds > 0 ? std::optional(static_cast<double>(*to - *from)) : std::nullopt;
}

std::optional<double> CpuPair::had(CpuCounter counter) const {
  return before != nullptr && seconds > 0 ? grown(before->values, now->values, counter) : std::nullopt;
}
std::optional<double> CpuPair::percent(CpuCounter counter) const { return over(had(counter), seconds * ns_per_s / 100); }

Interval::Interval(SamplePtr before, SamplePtr now) : before_(std::move(before)), now_(std::move(now)) {
  seconds_ = before_ ? between(*before_, *now_) : 0;
  const Sample* from = seconds_ > 0 ? before_.get() : nullptr;
  vms_ = pairs<VmSample, VmPair>(from == nullptr ? nullptr : &from->vms, now_->vms, seconds_, [](const VmSample& vm) -> const std::string& { return vm.path; });
  for (VmPair& vm : vms_) {
    if (vm.before != nullptr && vm.before->id != vm.now->id) {
      vm.before = nullptr;
    }
  }
  cpus_ = pairs<CpuSample, CpuPair>(from == nullptr ? nullptr : &from->cpus, now_->cpus, seconds_, [](const CpuSample& cpu) { return cpu.cpu; });
}

void History::add(SamplePtr sample) {
  if (!samples_.empty() && between(*samples_.back(), *sample) == 0) {
    samples_.clear();
  }
  // Of three the one in the middle goes if those around it are less than a second apart.
  const std::size_t n = samples_.size();
  if (n >= 3 && between(*samples_[n - 3], *samples_[n - 1]) < 1) {
    samples_.erase(samples_.end() - 2);
  }
  samples_.push_back(std::move(sample));
  while (samples_.size() > 2 && between(*samples_[1], *samples_.back()) >= long_s) {
    samples_.pop_front();
  }
}

Interval History::short_interval() const {
  return samples_.empty() ? Interval() : Interval(samples_.size() > 1 ? samples_[samples_.size() - 2] : nullptr, samples_.back());
}

Interval History::long_interval() const {
  return samples_.empty() ? Interval() : Interval(samples_.size() > 1 ? samples_.front() : nullptr, samples_.back());
}

}  // namespace sparectl::top
