// SPDX-License-Identifier: GPL-2.0-only
//
// From samples to rates. Pure.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <vector>

#include "top/sample.hpp"

namespace sparectl::top {

using SamplePtr = std::shared_ptr<const Sample>;

// A VM or provider in two samples.
struct VmPair {
  const VmSample* now = nullptr;
  const VmSample* before = nullptr;  // none: it was not there
  double seconds = 0;                // 0: no rates

  // What a counter has grown by. Nothing: one of both is not known, or it has fallen (it began anew).
  [[nodiscard]] std::optional<double> had(Counter counter) const;
  [[nodiscard]] std::optional<double> per_second(Counter counter) const;
  // Of a counter in ns: per cent of one CPU.
  [[nodiscard]] std::optional<double> percent(Counter counter) const;
  // As it stands.
  [[nodiscard]] std::optional<double> value(Counter counter) const;
  // Upper limit of the bucket in which that part (0 to 1) of the first-service latencies lies, in us. Nothing: there was none.
  // Infinite: in the last bucket.
  [[nodiscard]] std::optional<double> latency_us(double part) const;
  // Sum over all kinds of the bill, ns.
  [[nodiscard]] std::optional<double> billed() const;
  // What a server has used, ns.
  [[nodiscard]] std::optional<double> server_used(std::uint32_t cpu) const;
};

struct CpuPair {
  const CpuSample* now = nullptr;
  const CpuSample* before = nullptr;
  double seconds = 0;
  [[nodiscard]] std::optional<double> had(CpuCounter counter) const;
  [[nodiscard]] std::optional<double> percent(CpuCounter counter) const;  // of the time that passed
};

// Between two samples of one boot. Where that is not what they are (a replay of several boots, a clock that stands), it has no rates.
class Interval {
 public:
  Interval() = default;
  Interval(SamplePtr before, SamplePtr now);

  [[nodiscard]] bool known() const { return seconds_ > 0; }
  [[nodiscard]] double seconds() const { return seconds_; }
  [[nodiscard]] const Sample& now() const { return *now_; }
  // In the order of now().vms and now().cpus.
  [[nodiscard]] const std::vector<VmPair>& vms() const { return vms_; }
  [[nodiscard]] const std::vector<CpuPair>& cpus() const { return cpus_; }

 private:
  SamplePtr before_, now_;
  double seconds_ = 0;
  std::vector<VmPair> vms_;
  std::vector<CpuPair> cpus_;
};

// The last samples, as many as the long interval needs.
class History {
 public:
  static constexpr double long_s = 10;

  void add(SamplePtr sample);
  void clear() { samples_.clear(); }
  [[nodiscard]] SamplePtr last() const { return samples_.empty() ? nullptr : samples_.back(); }
  [[nodiscard]] Interval short_interval() const;
  // Over about long_s, or as long as there are samples. Some may be thinned out: at least a second lies between those kept.
  [[nodiscard]] Interval long_interval() const;

 private:
  std::deque<SamplePtr> samples_;  // the oldest first
};

}  // namespace sparectl::top
