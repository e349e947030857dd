// SPDX-License-Identifier: GPL-2.0-only
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "paths.hpp"
#include "util/fd.hpp"
#include "util/result.hpp"

namespace spare {

// The module's files in every cgroup (kmod/ documents their forms).
namespace file {
inline constexpr const char* reservation = "spare.reservation";
inline constexpr const char* cpus = "spare.cpus";
inline constexpr const char* provide = "spare.provide";
inline constexpr const char* use = "spare.use";
inline constexpr const char* netdev = "spare.netdev";
inline constexpr const char* net_max = "spare.net.max";
inline constexpr const char* policy = "spare.policy";
inline constexpr const char* stat = "spare.stat";
inline constexpr const char* events = "spare.events";
inline constexpr const char* host = "spare.host";  // in the root alone
inline constexpr const char* cpu_max = "cpu.max";  // the cpu controller's
}  // namespace file

// What spared and sparectl remember of a cgroup.
namespace mark {
inline constexpr const char* pool = "pool";            // it belongs to the pool of this name
inline constexpr const char* member = "member";        // what spared wrote into spare.use and spare.policy
inline constexpr const char* placement = "placement";  // why it wrote what into spare.cpus
inline constexpr const char* threads = "threads";      // what it has found wrong with its threads
inline constexpr const char* cpu_max = "cpu_max";      // the operator's cpu.max, and what spared wrote over it
inline constexpr const char* made = "made";            // sparectl made it, for an operator or for spare-qemu: it may remove it
}  // namespace mark

// A cgroup, held by its directory: one that is removed and made again under the same name is another cgroup.
class Cgroup {
 public:
  Cgroup(Fd dir, std::string path) : dir_(std::move(dir)), path_(std::move(path)) {}

  // Absolute from the root of the hierarchy: "/vm/vm1".
  [[nodiscard]] const std::string& path() const { return path_; }

  // Trimmed content of a file. The error says in words what is wrong and what to do.
  [[nodiscard]] Result<std::string> read(const char* file) const;
  // Writes a file; a refusal is explained, with what the module said in the kernel log where it said something.
  [[nodiscard]] Result<void> write(const char* file, std::string_view value) const;
  [[nodiscard]] bool has(const char* file) const;

  // What spared remembers of it, for as long as it lives (marks.cpp). Nothing: not set, or not for this user to see.
  [[nodiscard]] std::optional<std::string> mark(const char* name) const;
  [[nodiscard]] Result<void> set_mark(const char* name, std::string_view value) const;
  void clear_mark(const char* name) const;

 private:
  [[nodiscard]] std::string self() const;
  [[nodiscard]] Error explain(const char* file, std::string_view value, int code) const;

  Fd dir_;
  std::string path_;
};

// The cgroup v2 hierarchy.
class CgroupTree {
 public:
  static Result<CgroupTree> open(const Roots& roots);

  [[nodiscard]] const std::filesystem::path& mount() const { return mount_; }

  // "/vm/vm1", "vm/vm1" and "/sys/fs/cgroup/vm/vm1" all name the same cgroup. EINVAL for a name with "..".
  [[nodiscard]] Result<std::string> normal_path(std::string_view name) const;
  [[nodiscard]] Result<Cgroup> at(std::string_view name) const;

  // The unit of systemd's that has this cgroup, where only systemd writes its files.
  [[nodiscard]] std::optional<std::string> systemds_unit(const std::string& path) const;

  // Kills what is left in the cgroup and below, and removes them. A cgroup that is not there is fine.
  [[nodiscard]] Result<void> remove(std::string_view name) const;

  // Makes the cgroup and those above it, each with the controllers that a VM needs: cpu, io and cpuset, those of them that the kernel has.
  // Those that are there stay as they are, but for the controllers; where systemd has to enable them, it is asked to.
  [[nodiscard]] Result<Cgroup> make(std::string_view name) const;

  // Directories of all cgroups below one, itself left out; those that vanish meanwhile are left out, too. So many at most.
  [[nodiscard]] std::vector<std::filesystem::path> below(const std::filesystem::path& top, std::size_t most = std::string::npos) const;
  // Paths of every cgroup that has a reservation, sorted.
  [[nodiscard]] Result<std::vector<std::string>> with_reservation() const;

 private:
  CgroupTree(std::filesystem::path mount, bool systemd) : mount_(std::move(mount)), systemd_(systemd) {}
  [[nodiscard]] std::filesystem::path directory(const std::string& path) const { return mount_ / path.substr(1); }

  [[nodiscard]] std::vector<std::string> disabled_in(const std::filesystem::path& dir) const;
  [[nodiscard]] Result<void> enable_in(const std::filesystem::path& dir) const;
  [[nodiscard]] Result<void> have_enabled_in(const std::filesystem::path& dir, const std::string& slice) const;

  std::filesystem::path mount_;
  bool systemd_;  // it is process 1
};

}  // namespace spare
