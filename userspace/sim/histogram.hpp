// SPDX-License-Identifier: GPL-2.0-only
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <memory>

namespace spare::sim {

// Latencies in buckets that are 1/16 of their octave wide, from 1 us to 17 s: a percentile is at most 6.3 % too high (its
// bucket's upper edge, never above the maximum seen). Takes no memory before the first value.
class Histogram {
 public:
  void add(std::uint64_t ns) {
    if (!counts_) {
      counts_ = std::make_unique<Counts>();
    }
    (*counts_)[bucket(ns)]++;
    n_++;
    sum_ns_ += static_cast<double>(ns);
    max_ns_ = std::max(max_ns_, ns);
  }

  void add(const Histogram& other) {
    if (!other.counts_) {
      return;
    }
    if (!counts_) {
      counts_ = std::make_unique<Counts>();
    }
    for (std::size_t i = 0; i < counts_->size(); i++) {
      (*counts_)[i] += (*other.counts_)[i];
    }
    n_ += other.n_;
    sum_ns_ += other.sum_ns_;
    max_ns_ = std::max(max_ns_, other.max_ns_);
  }

  [[nodiscard]] std::uint64_t count() const { return n_; }
  [[nodiscard]] std::uint64_t max_ns() const { return max_ns_; }
  [[nodiscard]] double mean_ns() const { return n_ ? sum_ns_ / static_cast<double>(n_) : 0; }

  // The value that a share `p` of all, 0 .. 1, does not exceed; 0 when there is none.
  [[nodiscard]] std::uint64_t percentile(double p) const {
    if (!counts_) {
      return 0;
    }
    const auto rank = static_cast<std::uint64_t>(p * static_cast<double>(n_));
    std::uint64_t seen = 0;
    for (std::size_t i = 0; i < counts_->size(); i++) {
      seen += (*counts_)[i];
      if (seen > rank || seen == n_) {
        return std::min(upper_edge(i), max_ns_);
      }
    }
    return max_ns_;
  }

 private:
  static constexpr unsigned sub_bits = 4, octaves = 24;
  static constexpr std::uint64_t unit_ns = 1000;
  using Counts = std::array<std::uint32_t, (octaves + 1) << sub_bits>;

  // Microseconds 0 .. 15 have a bucket each, then 16 per octave.
  static std::size_t bucket(std::uint64_t ns) {
    const std::uint64_t us = ns / unit_ns;
    if (us < (1U << sub_bits)) {
      return us;
    }
    const unsigned shift = static_cast<unsigned>(std::bit_width(us)) - sub_bits - 1;
    const std::size_t index = (static_cast<std::size_t>(shift) << sub_bits) + (us >> shift);
    return std::min(index, Counts().size() - 1);
  }
  static std::uint64_t upper_edge(std::size_t index) {
    if (index < (2U << sub_bits)) {
      return (index + 1) * unit_ns;
    }
    const std::size_t shift = (index >> sub_bits) - 1;
    const std::uint64_t base = (index & ((1U << sub_bits) - 1)) + (1U << sub_bits);
    return ((base + 1) << shift) * unit_ns;
  }

  std::unique_ptr<Counts> counts_;
  std::uint64_t n_ = 0, max_ns_ = 0;
  double sum_ns_ = 0;
};

}  // namespace spare::sim
