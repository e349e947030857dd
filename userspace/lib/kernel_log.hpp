// SPDX-License-Identifier: GPL-2.0-only
#pragma once

#include <string>

#include "util/fd.hpp"

namespace spare {

// What the module says in the kernel log from now on: it explains a refused write there.
class KernelLog {
 public:
  KernelLog();
  // The last line of the module since construction, without its prefix; empty when it said nothing or /dev/kmsg is closed
  // to us.
  [[nodiscard]] std::string last_line() const;

 private:
  Fd fd_;
};

}  // namespace spare
