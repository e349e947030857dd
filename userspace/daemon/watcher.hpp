// SPDX-License-Identifier: GPL-2.0-only
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "cgroup.hpp"
#include "util/fd.hpp"

namespace spare {

// Says when something has changed that spared acts on: cgroups that come and go, what is written into the files that matter, CPUs
// that go and come. Only a hint to look again: a pass reads everything, and one is made from time to time in any case.
//
// inotify, a watch for each directory and for a few files, because a watch on everything (fanotify on the file system,
// IN_MODIFY on directories) would also wake us for each spare.events and memory.events of each VM, hundreds of times a second.
// A directory is watched before its children are listed, so none can come between unseen. CPUs: the kernel's uevents.
class Watcher {
 public:
  Watcher();

  // Descriptors to poll for reading; -1: not there.
  [[nodiscard]] int cgroups() const { return inotify_.get(); }
  [[nodiscard]] int uevents() const { return uevents_.get(); }

  // Watches every directory of the tree, and the files of interest in it; returns the paths of the cgroups with spare files.
  // `incomplete`: set when the kernel allows no more watches.
  Result<std::vector<std::string>> cover(const CgroupTree& tree, bool& incomplete);

  // Takes what has come.
  struct Heard {
    bool reason = false;   // for a pass
    bool uevent = false;
  };
  Heard drain();

 private:
  bool watch(const std::filesystem::path& path, unsigned mask);
  bool drain_cgroups();
  void drain_uevents(Heard& heard);

  Fd inotify_, uevents_;
};

}  // namespace spare
