// SPDX-License-Identifier: GPL-2.0-only
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "mapping.hpp"
#include "missing.hpp"
#include "pins.hpp"
#include "points.hpp"
#include "util/fd.hpp"
#include "util/result.hpp"

struct meter_bpf;
struct spare_meter_shared;

namespace spare {

// Which build of the meter's programs this program has: another number for each content.
std::uint64_t meter_build();

// The meter's programs in the kernel, for as long as this lives, or for as long as they are pinned.
class MeterPrograms {
 public:
  // Loads and attaches what this kernel has the attach points for. An error only where nothing at all can be billed. With pins it stays, in place of
  // what is pinned there.
  static Result<MeterPrograms> load(std::optional<MeterPins> pins);
  // Goes on with what is pinned, and attaches what is not yet. ENOENT: nothing is. EPROTO: what is, is another build's.
  static Result<MeterPrograms> adopt(MeterPins pins);

  // Modules may have come, or taps whose packets are served in softirqs (RPS, which the programs see; napi: some have IFF_NAPI): attaches what is
  // possible and wanted now. True when something was.
  bool attach_more(bool napi);

  // What tells vhost workers costs each of their packets: it is attached only while one runs that is not told yet. To be called about once a second.
  void tend();

  [[nodiscard]] std::vector<MissingPart> missing() const;

  // File descriptor of a map, by its name in meter.bpf.c.
  [[nodiscard]] int map(const char* name) const { return maps_.at(name).get(); }
  [[nodiscard]] spare_meter_shared& shared() const { return *shared_.as<spare_meter_shared>(); }
  // What is known of threads and devices is looked up anew.
  void forget();
  [[nodiscard]] std::uint64_t verified() const { return verified_; }  // instructions that the verifier looked at; 0: adopted
  [[nodiscard]] unsigned cpus() const { return cpus_; }               // that may ever come

 private:
  struct Close {
    void operator()(meter_bpf* object) const;
  };
  using Object = std::unique_ptr<meter_bpf, Close>;
  struct State {
    Fd program;    // it is attached, or, of those that tell, is when that is needed
    Fd link;
    bool refused = false;  // by the kernel: not tried again
    std::string why;
  };

  MeterPrograms(unsigned cpus, std::optional<MeterPins> pins);
  static Result<unsigned> possible_cpus();
  [[nodiscard]] Object open(const std::vector<size_t>& points) const;
  [[nodiscard]] Result<Object> load_some(std::vector<size_t>& points);
  Result<void> take_maps(const Object& object);
  void attach(const Object& object, const std::vector<size_t>& points);
  bool link(size_t point);
  void unlink(size_t point);
  [[nodiscard]] bool wanted(const MeterPoint& point) const;
  void look_for(std::vector<size_t>& points);
  void extend();

  unsigned cpus_;
  bool steered_ = false;
  std::uint64_t verified_ = 0;
  std::optional<MeterPins> pins_;
  std::map<std::string, Fd, std::less<>> maps_;
  Mapping shared_;
  std::vector<State> states_;  // as meter_points()
  std::shared_ptr<std::atomic<unsigned>> ending_ = std::make_shared<std::atomic<unsigned>>(0);  // links
};

}  // namespace spare
