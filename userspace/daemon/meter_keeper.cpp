// SPDX-License-Identifier: GPL-2.0-only
#include "meter_keeper.hpp"

#include <spdlog/spdlog.h>

namespace spare {

void MeterKeeper::configure(bool wanted) {
  if (!wanted) {
    meter_.reset();
    const auto removed = unpin_meter(roots_);
    if (!removed) {
      spdlog::warn("{}", removed.error().text);
    } else if (*removed) {
      spdlog::info("the meter is off");
    }
    return;
  }
  if (meter_) {
    return;
  }
  auto meter = attach_meter(roots_, {{}, true});
  if (!meter) {
    spdlog::warn("{}: there is no bill", meter.error().text);
    return;
  }
  meter_ = std::move(*meter);
  say_news();
  spdlog::info("the meter runs");
}

void MeterKeeper::turn() {
  if (!meter_) {
    return;
  }
  const auto turned = meter_->turn();
  say_news();
  if (!turned) {
    spdlog::warn("the meter ends: {}", turned.error().text);
    meter_.reset();
  }
}

void MeterKeeper::say_news() const {
  for (const std::string& news : meter_->news()) {
    spdlog::warn("meter: {}", news);
  }
}

}  // namespace spare
