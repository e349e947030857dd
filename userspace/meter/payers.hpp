// SPDX-License-Identifier: GPL-2.0-only
#pragma once

#include <cstdint>
#include <map>

namespace spare {

// Whose reservation pays for what the meter sees of a VM (DEBT-1): the maps `payers` (by slot) and `costs` (by the id of the payer's cgroup), which the class
// reads.
class Payers {
 public:
  // Goes on with what the maps have.
  Payers(int payers, int costs);

  // By slot, the id of that cgroup; nobody pays for the others from now on. What a cgroup has cost stays known as long as there is room. False: there is none
  // for some of them, for whom nobody pays.
  bool set(const std::map<std::uint32_t, std::uint64_t>& wanted);

 private:
  [[nodiscard]] bool make_entry(std::uint64_t id) const;
  void make_room(const std::map<std::uint32_t, std::uint64_t>& wanted) const;
  void write(std::uint32_t slot, std::uint64_t id);

  int payers_, costs_;
  std::map<std::uint32_t, std::uint64_t> known_;
};

}  // namespace spare
