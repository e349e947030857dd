// SPDX-License-Identifier: GPL-2.0-only
//
// The programs that drop packets at the taps of VMs whose network work is limited (GUARD-1): they are pinned, so a limit holds without spared, too.
#pragma once

#include <cstdint>
#include <memory>
#include <set>
#include <vector>

#include "paths.hpp"
#include "util/result.hpp"

namespace spare {

class TapGuard {
 public:
  explicit TapGuard(const Roots& roots);
  ~TapGuard();
  TapGuard(const TapGuard&) = delete;
  TapGuard& operator=(const TapGuard&) = delete;

  // They are at these taps (by index, in this network namespace), and no others: those of an earlier spared's go as these come. passes: what is not dropped
  // (Config). The error is of a tap where they could not be put; at the others they are.
  [[nodiscard]] Result<void> set(const std::set<unsigned>& taps, const std::vector<std::uint32_t>& passes);

 private:
  struct Programs;
  [[nodiscard]] Result<void> load(const std::vector<std::uint32_t>& passes);
  [[nodiscard]] bool is_at(unsigned tap) const;
  [[nodiscard]] Result<void> go_to(unsigned tap) const;

  Roots roots_;
  std::unique_ptr<Programs> programs_;
  std::set<unsigned> ours_;  // taps at which these programs were put
};

// They are nowhere any more, and hold neither the module nor its map.
Result<void> unpin_guard(const Roots& roots);

}  // namespace spare
