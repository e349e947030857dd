// SPDX-License-Identifier: GPL-2.0-only
//
// LIFE-2: cpu.max of every cgroup with servers says what they give it together, with those of cgroups below it. While the class
// runs, a reservation governs alone and this is without effect; when the class is gone, the kernel's scheduler goes by it. Of a unit systemd
// writes it.
#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <chrono>
#include <thread>

#include "cap.hpp"
#include "manager.hpp"
#include "systemd.hpp"

namespace spare {
namespace {

constexpr int steps_most = 4;  // record, write, tidy the record; one to see that it is done

constexpr std::chrono::milliseconds written_limit{2000}, written_pause{5};

// How long systemd may take to carry out what it was asked for: of all units together, or each late one would hold the daemon up in turn.
class Patience {
 public:
  // False: it is at its end.
  bool wait() {
    if (left_ <= std::chrono::milliseconds::zero()) {
      return false;
    }
    std::this_thread::sleep_for(written_pause);
    left_ -= written_pause;
    return true;
  }

 private:
  std::chrono::milliseconds left_ = written_limit;
};

bool same_cap(const std::string& one, const std::string& other) { return one == other || (one.starts_with("max") && other.starts_with("max")); }

Result<void> write_cap(const Cgroup& cgroup, const std::optional<std::string>& unit, const std::string& value, Patience& patience) {
  if (!unit) {
    return cgroup.write(file::cpu_max, value);
  }
  if (auto set = set_unit_cap(*unit, value); !set) {
    // A directory of nobody's, by that name.
    return set.error().code == ENODEV && cgroup.read(file::cpu_max) ? cgroup.write(file::cpu_max, value) : set;
  }
  do {
    const auto current = cgroup.read(file::cpu_max);
    if (!current) {
      return current.error();
    }
    if (same_cap(*current, value)) {
      return {};
    }
  } while (patience.wait());
  return Error{fmt::format("{}: systemd was asked for cpu.max '{}' and has not written it yet; it is looked at again", cgroup.path(), value), ETIME};
}

Result<void> take(const Cgroup& cgroup, const std::optional<std::string>& unit, const CapStep& step, Patience& patience) {
  if (step.record) {
    if (auto set = cgroup.set_mark(mark::cpu_max, step.record->text()); !set) {
      return set;
    }
  }
  if (step.write) {
    if (auto written = write_cap(cgroup, unit, *step.write, patience); !written) {
      return written;
    }
  }
  if (step.forget) {
    cgroup.clear_mark(mark::cpu_max);
  }
  return {};
}

Result<void> mirror(const CgroupTree& tree, const Cgroup& cgroup, std::optional<std::string> wanted, Patience& patience) {
  const auto unit = tree.systemds_unit(cgroup.path());
  if (unit && wanted) {
    wanted = unit_cap(*wanted);
  }
  for (int i = 0; i < steps_most; i++) {
    const auto record = CapRecord::parse(cgroup.mark(mark::cpu_max));
    if (!wanted && !record) {
      return {};
    }
    const auto current = cgroup.read(file::cpu_max);
    if (!current) {
      return current.error();
    }
    const CapStep step = cap_step(*current, record, wanted, unit.has_value());
    if (step.nothing()) {
      return {};
    }
    const std::string operators = step.record ? step.record->operators : "";
    if (!operators.empty() && !operators.starts_with("max") && (!record || record->operators != operators)) {
      spdlog::info("{}: cpu.max was {}; it is {} while there is a reservation, and {} again afterwards", cgroup.path(), operators,
                   step.record->written, operators);
    }
    if (auto taken = take(cgroup, unit, step, patience); !taken) {
      return taken;
    }
  }
  return {};
}

}  // namespace

Result<unsigned> restore_caps(const Roots& roots) {
  const auto tree = CgroupTree::open(roots);
  if (!tree) {
    return tree.error();
  }
  Patience patience;
  unsigned restored = 0;
  std::optional<Error> first;
  for (const auto& dir : tree->below(tree->mount())) {
    const auto cgroup = tree->at(dir.string());
    if (!cgroup || !cgroup->mark(mark::cpu_max)) {
      continue;
    }
    if (auto done = mirror(*tree, *cgroup, std::nullopt, patience); done) {
      restored++;
    } else if (done.error().code != ENODEV && !first) {  // the others get theirs all the same
      first = done.error();
    }
  }
  return first ? Result<unsigned>(*first) : restored;
}

namespace {

std::uint64_t inner_ppm(const Pass& pass, const Claim& outer) {
  std::uint64_t sum = 0;
  for (const Claim& claim : pass.ledger.claims()) {
    if (claim.reservation && claim.path.starts_with(outer.path + "/")) {
      sum += std::uint64_t{utilization_ppm(*claim.reservation)} * claim.cpus.size();
    }
  }
  return sum;
}

}  // namespace

void mirror_caps(Pass& pass) {
  Patience patience;
  bool systemd_answers = true;  // else the daemon would wait for each unit in turn
  for (const Claim& claim : pass.ledger.claims()) {
    const auto cgroup = pass.tree.at(claim.path);
    if (!cgroup || (!systemd_answers && pass.tree.systemds_unit(claim.path))) {
      continue;
    }
    std::optional<std::string> wanted;
    if (claim.reservation && !claim.cpus.empty()) {
      wanted = cap_of(*claim.reservation, static_cast<unsigned>(claim.cpus.size()), inner_ppm(pass, claim));
    }
    if (auto mirrored = mirror(pass.tree, *cgroup, wanted, patience); !mirrored && mirrored.error().code != ENODEV) {
      systemd_answers = systemd_answers && mirrored.error().code != ETIMEDOUT;
      pass.complaints.say("cap " + claim.path, "without the class its reservation would not hold: " + mirrored.error().text);
    }
  }
}

}  // namespace spare
