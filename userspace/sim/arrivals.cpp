// SPDX-License-Identifier: GPL-2.0-only
#include "arrivals.hpp"

#include <algorithm>
#include <charconv>
#include <fstream>

namespace spare::sim {
namespace {

constexpr std::size_t recorded_max = 100'000'000;
// A gap that no simulation outlives: so that sums below do not wrap.
constexpr double longest_ns = 1e18;

Time gap(Random& random, double mean_ns) {
  return static_cast<Time>(std::min(random.exponential(mean_ns), longest_ns)) + 1;
}

}  // namespace

Arrivals::Arrivals(const Traffic& traffic, std::uint64_t seed, std::uint64_t vm) : traffic_(&traffic), random_(seed, vm) {
  if (traffic.poisson_hz > 0) {
    poisson_ = 0;
    draw_poisson();
  }
  if (traffic.on_hz > 0 && traffic.on_s > 0) {
    on_off_ = gap(random_, traffic.off_s * 1e9);
    on_end_ = on_off_ + gap(random_, traffic.on_s * 1e9);
    draw_on_off();
  }
  if (traffic.broadcast_ns > 0) {
    broadcast_ = traffic.broadcast_ns;
  }
  choose();
}

void Arrivals::draw_poisson() {
  poisson_ += gap(random_, 1e9 / traffic_->poisson_hz);
}

// Exponential gaps have no memory: what reaches beyond the end of a burst is drawn anew from the start of the next.
void Arrivals::draw_on_off() {
  on_off_ += gap(random_, 1e9 / traffic_->on_hz);
  while (on_off_ > on_end_) {
    on_off_ = on_end_ + gap(random_, traffic_->off_s * 1e9);
    on_end_ = on_off_ + gap(random_, traffic_->on_s * 1e9);
    on_off_ += gap(random_, 1e9 / traffic_->on_hz);
  }
}

void Arrivals::choose() {
  const auto& recorded = traffic_->recorded;
  const Time record = recorded && recorded_ < recorded->size() ? (*recorded)[recorded_] : never;
  next_ = std::min({poisson_, on_off_, broadcast_, record});
  count_ = next_ == poisson_ || next_ == on_off_ ? traffic_->burst : 1;
}

void Arrivals::pop() {
  if (next_ == never) {
    return;
  }
  if (next_ == poisson_) {
    draw_poisson();
  } else if (next_ == on_off_) {
    draw_on_off();
  } else if (next_ == broadcast_) {
    broadcast_ += traffic_->broadcast_ns;
  } else {
    recorded_++;
  }
  choose();
}

spare::Result<std::vector<std::vector<Time>>> read_recorded(const std::string& path, std::size_t vms) {
  std::ifstream file(path);
  if (!file) {
    return errno_error(path);
  }
  std::vector<std::vector<Time>> packets(vms);
  std::string line;
  std::size_t number = 0, total = 0;
  while (std::getline(file, line)) {
    number++;
    if (line.ends_with('\r')) {
      line.pop_back();
    }
    const std::size_t comma = line.find(',');
    double time_us = 0;
    std::uint64_t vm = 0;
    const char *first = line.data(), *end = first + line.size();
    const char* split = comma == std::string::npos ? end : first + comma;
    const auto time = std::from_chars(first, split, time_us);
    const auto index =
        split == end ? std::from_chars_result{end, std::errc::invalid_argument} : std::from_chars(split + 1, end, vm);
    const bool malformed = time.ec != std::errc() || time.ptr != split || index.ec != std::errc() || index.ptr != end;
    if (malformed && (number == 1 || line.empty())) {
      continue;
    }
    const std::string where = path + ":" + std::to_string(number) + ": ";
    if (malformed) {
      return Error{where + "'" + line + "' is not 'time_us,vm'", EINVAL};
    }
    if (!(time_us >= 0 && time_us < 1e15)) {
      return Error{where + "the time must lie between 0 and 1e15 us", ERANGE};
    }
    if (vm >= vms) {
      return Error{where + "there is no VM " + std::to_string(vm) + ": they are 0 to " + std::to_string(vms - 1), ERANGE};
    }
    if (++total > recorded_max) {
      return Error{path + ": more than " + std::to_string(recorded_max) + " packets", E2BIG};
    }
    packets[vm].push_back(static_cast<Time>(time_us * 1000));
  }
  if (file.bad()) {
    return Error{path + ": cannot be read", EIO};
  }
  for (auto& times : packets) {
    std::sort(times.begin(), times.end());
  }
  return packets;
}

}  // namespace spare::sim
