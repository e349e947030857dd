// SPDX-License-Identifier: GPL-2.0-only
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "util/result.hpp"

struct bpf_link;
struct bpf_program;
struct meter_bpf;

namespace spare {

// A part of the bill that this kernel does not let us see.
struct MissingPart {
  std::string point;  // "tracepoint kvm_entry"
  std::string why;    // "the module kvm is not loaded"
  std::string part;   // what of the bill is not there, and where it is instead
};

// The meter's programs in the kernel, for as long as this lives. Nothing is pinned.
class MeterPrograms {
 public:
  // Loads and attaches what this kernel has the attach points for. An error only where nothing at all can be billed.
  static Result<MeterPrograms> load();

  // Modules may have come, or taps whose packets are served in softirqs (RPS, which the programs see; napi: some have IFF_NAPI): attaches what is
  // possible and wanted now. True when something was.
  bool attach_more(bool napi);

  // What tells vhost workers costs each of their packets: it is attached only while one runs that is not told yet. To be called about once a second.
  void tend();

  [[nodiscard]] std::vector<MissingPart> missing() const;

  // File descriptor of a map, by its name in meter.bpf.c.
  [[nodiscard]] int map(const char* name) const;
  // What is known of threads and devices is looked up anew.
  void forget();
  [[nodiscard]] std::uint64_t verified() const;  // instructions that the verifier looked at
  [[nodiscard]] unsigned cpus() const { return cpus_; }  // that may ever come

 private:
  struct Close {
    void operator()(meter_bpf* object) const;
    void operator()(bpf_link* link) const;
  };
  using Object = std::unique_ptr<meter_bpf, Close>;
  using Link = std::unique_ptr<bpf_link, Close>;
  struct State {
    bool attached = false;
    Link link;  // none: attached, but not needed now
    bpf_program* program = nullptr;
    bool refused = false;  // by the kernel: not tried again
    std::string why;
  };

  explicit MeterPrograms(unsigned cpus);
  [[nodiscard]] Object open(const std::vector<size_t>& points) const;
  [[nodiscard]] Result<Object> load_some(std::vector<size_t>& points);
  void attach(Object object, const std::vector<size_t>& points);
  void look_for(std::vector<size_t>& points);

  unsigned cpus_;
  bool steered_ = false;
  std::vector<Object> objects_;  // the first has the maps
  std::vector<State> states_;    // as points[] in attach.cpp
};

}  // namespace spare
