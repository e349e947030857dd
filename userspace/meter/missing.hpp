// SPDX-License-Identifier: GPL-2.0-only
#pragma once

#include <string>

namespace spare {

// A part of the bill that this kernel does not let us see.
struct MissingPart {
  std::string point;  // "tracepoint kvm_entry"
  std::string why;    // "the module kvm is not loaded"
  std::string part;   // what of the bill is not there, and where it is instead
  bool operator==(const MissingPart&) const = default;
};

}  // namespace spare
