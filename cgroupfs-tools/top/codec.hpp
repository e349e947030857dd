// SPDX-License-Identifier: GPL-2.0-only
//
// A sample as bytes: differences to the sample before, as most counters of most VMs stand still. sparectl-top(1) documents the form.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "top/sample.hpp"
#include "util/result.hpp"

namespace sparectl::top {

// Names of the counters, as the segments of a recording begin with them: what a later version adds is then left out, not misread.
std::string encode_names();

// Which counters of ours a recording's are.
class NameMap {
 public:
  static spare::Result<NameMap> decode(std::string_view bytes);
  [[nodiscard]] std::size_t vm_names() const { return vm_.size(); }
  [[nodiscard]] std::size_t cpu_names() const { return cpu_.size(); }
  // Ours; nothing: not known to this version.
  [[nodiscard]] std::optional<Counter> vm(std::size_t i) const { return vm_[i]; }
  [[nodiscard]] std::optional<CpuCounter> cpu(std::size_t i) const { return cpu_[i]; }

 private:
  std::vector<std::optional<Counter>> vm_;
  std::vector<std::optional<CpuCounter>> cpu_;
};

// Not more than this program takes from a file that somebody may have made for it: 16384 VMs, 8192 CPUs, 1048576 servers.
bool fits(const Sample& sample);
// before: the sample that was encoded before it in this segment; an empty one for the first.
std::string encode(const Sample& before, const Sample& sample);
// An error: it is none (it was cut off, or has counts that cannot be), or has more in it than fits(). Never reads beyond.
spare::Result<Sample> decode(const Sample& before, std::string_view bytes, const NameMap& names);

}  // namespace sparectl::top
