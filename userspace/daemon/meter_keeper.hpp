// SPDX-License-Identifier: GPL-2.0-only
#pragma once

#include <memory>

#include "meter/meter.hpp"
#include "paths.hpp"

namespace spare {

// The meter that stays in the kernel while the configuration wants one ([meter]), whoever reads it and whether or not spared runs.
class MeterKeeper {
 public:
  explicit MeterKeeper(const Roots& roots) : roots_(roots) {}

  // Begins, going on with what a former spared has left; or takes away what is there. What cannot be done is said: VMs are served all the same.
  void configure(bool wanted);
  // To be polled; -1: nothing to wait for.
  [[nodiscard]] int fd() const { return meter_ ? meter_->fd() : -1; }
  void turn();
  // Null: there is none.
  [[nodiscard]] Meter* meter() const { return meter_.get(); }

 private:
  void say_news() const;

  const Roots& roots_;
  std::unique_ptr<Meter> meter_;
};

}  // namespace spare
