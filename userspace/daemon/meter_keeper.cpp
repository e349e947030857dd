// SPDX-License-Identifier: GPL-2.0-only
#include "meter_keeper.hpp"

#include <spdlog/spdlog.h>

#include <algorithm>

namespace spare {

void MeterKeeper::configure(bool wanted) {
  wanted_ = wanted;
  complaint_.clear();
  if (wanted) {
    begin();
    return;
  }
  meter_.reset();
  counted_ = {};
  const auto removed = unpin_meter(roots_);
  if (!removed) {
    spdlog::warn("{}", removed.error().text);
  } else if (*removed) {
    spdlog::info("the meter is off");
  }
}

void MeterKeeper::begin() {
  if (meter_) {
    return;
  }
  const auto began = Clock::now();
  auto meter = attach_(roots_, {{}, true});
  if (!meter) {
    due_ = Clock::now() + std::max<Clock::duration>(retry, 100 * (Clock::now() - began));
    if (std::exchange(complaint_, meter.error().text) != complaint_) {
      spdlog::warn("{}: there is no bill; it is tried again from time to time", complaint_);
    }
    return;
  }
  meter_ = std::move(*meter);
  say_news();
  spdlog::info("the meter runs");
}

void MeterKeeper::turn(Clock::time_point now) {
  if (meter_) {
    meter_->turn();
    say_news();
    if (now >= fit_due_) {
      fit();
      fit_due_ = Clock::now() + fit_interval;
    }
  } else if (wanted_ && now >= due_) {
    begin();
  }
}

// (Between two meters there is no bill.)
void MeterKeeper::fit() {
  auto now = meter_->read();
  if (now && now->epoch == before_.epoch) {
    counted_.look(between(before_, *now));
  }
  before_ = now ? std::move(*now) : Reading();
}

void MeterKeeper::say_news() const {
  for (const std::string& news : meter_->news()) {
    spdlog::warn("meter: {}", news);
  }
}

}  // namespace spare
