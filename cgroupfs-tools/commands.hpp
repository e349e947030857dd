// SPDX-License-Identifier: GPL-2.0-only
//
// sparectl's commands. Each does its work and prints its output; an error comes back to main(), which prints it.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "paths.hpp"
#include "util/result.hpp"

namespace sparectl {

// sparectl status
spare::Result<void> status(const spare::Roots& roots, bool json);
// sparectl show CGROUP
spare::Result<void> show(const spare::Roots& roots, const std::string& cgroup, bool json);

// sparectl set: what is not given stays as it is.
struct SetOptions {
  std::string cgroup;
  std::optional<std::string> reservation;
  std::optional<std::string> cpus;
  std::optional<bool> provide;
  std::optional<std::vector<std::string>> use;
  std::optional<std::vector<std::string>> netdev;
  std::optional<std::string> net_max;
  std::vector<std::string> policy;
  bool create = false;

  [[nodiscard]] bool changes() const { return reservation || cpus || provide || use || netdev || net_max || !policy.empty(); }
};
spare::Result<void> set(const spare::Roots& roots, const SetOptions& options);

// sparectl link, unlink: providers of a cgroup. unlink without names removes all.
spare::Result<void> link(const spare::Roots& roots, const std::string& cgroup, const std::vector<std::string>& providers);
spare::Result<void> unlink(const spare::Roots& roots, const std::string& cgroup, const std::vector<std::string>& providers);

// sparectl create: prints the cgroup's directory. EEXIST: `exclusive`, and it was there (the directory is printed, too).
spare::Result<void> create(const spare::Roots& roots, const std::string& cgroup, bool exclusive);
// sparectl remove: kills what is in it. One that sparectl has not made only by force.
spare::Result<void> remove(const spare::Roots& roots, const std::string& cgroup, bool force);
// sparectl run: makes the changes, if any, and becomes the command; returns only when it cannot.
spare::Result<void> run(const spare::Roots& roots, const SetOptions& options, const std::vector<std::string>& command);
// sparectl reload: has spared read its configuration again; the error is what is wrong with that.
spare::Result<void> reload();
// sparectl unload
spare::Result<void> unload(const spare::Roots& roots);

}  // namespace sparectl
