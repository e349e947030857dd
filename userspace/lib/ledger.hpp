// SPDX-License-Identifier: GPL-2.0-only
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "cgroup.hpp"
#include "cpu_list.hpp"
#include "duration.hpp"

namespace spare {

// What a cgroup's files say of its part in admission.
struct Claim {
  std::string path;
  std::optional<Reservation> reservation;
  Cpus cpus;
  bool provider = false;
  std::string use;  // spare.use as it reads
};

// Parts per million that SCHED_DEADLINE threads hold of a CPU; none where it does not name one.
using Deadlines = std::map<unsigned, std::uint32_t>;

// What reservations, providers and SCHED_DEADLINE threads take of each CPU (CBS-6), by the module's own arithmetic. The module has
// the last word: such threads come and go.
class Ledger {
 public:
  Ledger(std::uint32_t limit_ppm, std::vector<Claim> claims, Deadlines deadlines = {})
      : limit_ppm_(limit_ppm), claims_(std::move(claims)), deadlines_(std::move(deadlines)) {}
  // From the files of every cgroup and the module's limit_ppm.
  static Result<Ledger> read(const Roots& roots, const CgroupTree& tree);

  [[nodiscard]] const std::vector<Claim>& claims() const { return claims_; }
  [[nodiscard]] std::uint32_t limit_ppm() const { return limit_ppm_; }
  // The cgroup's claim, to be changed as the cgroup is; null: none.
  [[nodiscard]] Claim* find(const std::string& path);
  // Adds a claim, or replaces the cgroup's; takes one away.
  void put(Claim claim);
  void erase(const std::string& path);

  // Parts per million of a CPU; `except` is a cgroup that is not counted.
  [[nodiscard]] std::uint32_t taken_ppm(unsigned cpu, const std::string& except = {}) const;
  [[nodiscard]] std::uint32_t room_ppm(unsigned cpu, const std::string& except = {}) const;

  // Which of `cpus` have no room for the reservation, beside everybody but `path`.
  [[nodiscard]] Cpus full_for(const std::string& path, const Reservation& asked, const Cpus& cpus) const;
  // "CPU 1 is full: 60ms/100ms asked, at most 49ms/100ms fits beside /vm/a 40 %, /pool/p0 10 % (limit 90 %)", for the fullest
  // of `cpus`, and which of `online` have room for it; empty when each of `cpus` has.
  [[nodiscard]] std::string refusal(const std::string& path, const Reservation& asked, const Cpus& cpus, const Cpus& online) const;

 private:
  [[nodiscard]] std::vector<std::string> takers_of(unsigned cpu, const std::string& except) const;
  [[nodiscard]] std::uint32_t deadline_ppm(unsigned cpu) const;

  std::uint32_t limit_ppm_;
  std::vector<Claim> claims_;
  Deadlines deadlines_;
};

// The CPU that the module's refusal names ("CPU 3 is full: ..."), anywhere in a text.
std::optional<unsigned> full_cpu_in(std::string_view text);

Result<Claim> read_claim(const Cgroup& cgroup);
// Its spare.cpus was written by a program that places VMs ("auto LIST"), not by an operator.
bool placed_by_program(const Cgroup& cgroup);
// The module's admission limit; its default when the module is not there.
std::uint32_t read_limit_ppm(const Roots& roots);
// What the module counts for SCHED_DEADLINE threads; nothing when it is not there.
Deadlines read_deadlines(const CgroupTree& tree);

}  // namespace spare
