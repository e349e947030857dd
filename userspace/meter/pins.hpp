// SPDX-License-Identifier: GPL-2.0-only
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>

#include "paths.hpp"
#include "util/fd.hpp"
#include "util/result.hpp"

struct bpf_map;

namespace spare {

// What keeps the meter in the kernel without a process: /sys/fs/bpf/sched_spare/meter with map_NAME, prog_NAME and link_NAME. Where the
// directory is, all maps are; programs and links follow one by one.
class MeterPins {
 public:
  explicit MeterPins(const Roots& roots);

  // A new directory with these, in place of the one that there is.
  [[nodiscard]] Result<void> replace(const std::map<std::string, int>& fds) const;

  [[nodiscard]] Result<void> put(const std::string& name, int fd) const;
  // Nothing: errno says why. (The kernel maps no map that was opened to be read alone.)
  [[nodiscard]] Fd get(const std::string& name) const;
  void drop(const std::string& name) const;

  // What meter and class share is pinned beside it, and taken from there (lib/costs.hpp).
  [[nodiscard]] Result<void> put_costs(int fd) const;
  [[nodiscard]] Result<void> take_costs(bpf_map* map) const;

  // Another number when it is another directory; 0: there is none.
  [[nodiscard]] std::uint64_t identity() const;
  // Takes all of it away. Whether there was something.
  [[nodiscard]] Result<bool> remove() const;

 private:
  Roots roots_;
  std::filesystem::path dir_;
};

}  // namespace spare
