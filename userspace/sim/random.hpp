// SPDX-License-Identifier: GPL-2.0-only
#pragma once

#include <cmath>
#include <cstdint>

namespace spare::sim {

// SplitMix64 (Steele, Lea and Flood, "Fast Splittable Pseudorandom Number Generators", 2014). A stream of its own for each
// (seed, stream) pair, so that what one VM draws does not depend on what another does. Not a std distribution: their values
// depend on the library.
class Random {
 public:
  Random(std::uint64_t seed, std::uint64_t stream) : state_(mix(seed) ^ mix(stream + 0x632be59bd9b4e019)) {}

  std::uint64_t next() { return mix(state_ += 0x9e3779b97f4a7c15); }
  // lo .. hi, both possible
  std::uint64_t in(std::uint64_t lo, std::uint64_t hi) { return lo + next() % (hi - lo + 1); }
  // 0 < u <= 1
  double unit() { return static_cast<double>((next() >> 11) + 1) * 0x1p-53; }
  double exponential(double mean) { return -mean * std::log(unit()); }

 private:
  static std::uint64_t mix(std::uint64_t z) {
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
  }
  std::uint64_t state_;
};

}  // namespace spare::sim
