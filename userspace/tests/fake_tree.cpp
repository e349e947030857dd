// SPDX-License-Identifier: GPL-2.0-only
#include "fake_tree.hpp"

#include <cstdlib>
#include <fstream>
#include <sstream>
#include <stdexcept>

FakeTree::FakeTree() {
  std::string name = "/tmp/spare-test-XXXXXX";
  if (::mkdtemp(name.data()) == nullptr) {
    throw std::runtime_error("mkdtemp");
  }
  root_ = name;
}

FakeTree::~FakeTree() {
  std::error_code ignored;
  std::filesystem::remove_all(root_, ignored);
}

void FakeTree::file(const std::string& path, std::string_view text) const {
  const auto full = root_ / path;
  std::filesystem::create_directories(full.parent_path());
  std::ofstream(full) << text;
}

std::string FakeTree::text(const std::string& path) const {
  std::stringstream text;
  text << std::ifstream(root_ / path).rdbuf();
  return text.str();
}

void FakeTree::good_machine() const {
  file("sys/kernel/sched_ext/state", "disabled\n");
  file("sys/module/sched_spare/parameters/abi", "1\n");
  file("proc/self/mountinfo", "30 23 0:26 / " + (root_ / "sys/fs/cgroup").string() + " rw,nosuid shared:9 - cgroup2 cgroup2 rw\n");
  file("proc/self/status", "Name:\tx\nCapEff:\t000001ffffffffff\n");
  file("proc/cmdline", "root=/dev/vda quiet\n");
  file("sys/fs/cgroup/cgroup.controllers", "cpuset cpu io memory\n");
  file("sys/fs/cgroup/cgroup.subtree_control", "cpuset cpu io\n");
}
