// SPDX-License-Identifier: GPL-2.0-only
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

// A directory in /tmp that looks like what a test needs, gone with the object.
class FakeTree {
 public:
  FakeTree();
  ~FakeTree();
  FakeTree(const FakeTree&) = delete;
  FakeTree& operator=(const FakeTree&) = delete;

  [[nodiscard]] const std::filesystem::path& root() const { return root_; }
  // Writes a file, making the directories above it.
  void file(const std::string& path, std::string_view text) const;
  [[nodiscard]] std::string text(const std::string& path) const;

  // A machine on which the class could run: sched_ext, module, cgroup v2, capabilities. No BTF.
  void good_machine() const;

 private:
  std::filesystem::path root_;
};
