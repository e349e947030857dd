// SPDX-License-Identifier: GPL-2.0-only
#pragma once

#include <cstdint>
#include <string>

struct bpf_object;

namespace spare {

// What libbpf and the verifier say while this lives. libbpf's printer is one per process.
class BpfLog {
 public:
  BpfLog();
  ~BpfLog();
  BpfLog(const BpfLog&) = delete;
  BpfLog& operator=(const BpfLog&) = delete;

  // Its last lines: the reason stands at the end of a verifier log.
  [[nodiscard]] std::string tail() const;

 private:
  std::string text_;
};

// How many instructions the verifier looked at to let the object's programs in.
std::uint64_t verified_instructions(const bpf_object* object);

}  // namespace spare
