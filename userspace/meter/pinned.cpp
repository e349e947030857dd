// SPDX-License-Identifier: GPL-2.0-only
//
// A meter that spared keeps: its maps, read-only, and the table that says whose the slots are.
#include <bpf/libbpf.h>

#include <chrono>
#include <optional>
#include <thread>

#include "attach.hpp"
#include "kinds.hpp"
#include "meter.hpp"
#include "pins.hpp"
#include "reading.hpp"
#include "table.hpp"

namespace spare {
namespace {

// While spared changes something (it takes milliseconds, and may be killed in the middle of it).
constexpr int table_tries = 50;
constexpr std::chrono::milliseconds table_pause{2};

class PinnedMeter : public Meter {
 public:
  explicit PinnedMeter(const Roots& roots) : roots_(roots), pins_(roots) {}

  Result<void> open() {
    maps_.reset();
    identity_ = pins_.identity();
    const Fd cpus = pins_.get("map_cpus"), rows = pins_.get("map_rows"), data = pins_.get("map_data");
    if (!cpus || !rows || !data) {
      return errno_error(errno == ENOENT ? "spared keeps no meter ([meter] in spared.toml)" : "the meter that spared keeps");
    }
    auto shared = Mapping::of(data.get(), sizeof(spare_meter_shared), false);
    if (!shared) {
      return shared.error();
    }
    if (shared->as<const spare_meter_shared>()->build != meter_build()) {
      return Error{"the meter that spared keeps is another build's: restart spared", EPROTO};
    }
    auto counters = Counters::open(cpus.get(), rows.get(), static_cast<unsigned>(libbpf_num_possible_cpus()), false);
    if (!counters) {
      return counters.error();
    }
    maps_ = Maps{std::move(*shared), std::move(*counters)};
    table_ = {};
    return {};
  }

  Result<Reading> read() override {
    if (!maps_ || pins_.identity() != identity_) {  // it was replaced
      if (auto opened = open(); !opened) {
        return opened.error();
      }
    }
    const auto& shared = *maps_->shared.as<const spare_meter_shared>();
    Result<Reading> reading = Error{};
    for (int i = 0; i < table_tries; i++) {
      const auto generation = __atomic_load_n(&shared.table, __ATOMIC_ACQUIRE);
      if ((generation & 1) == 0 || i == table_tries - 1) {
        if (auto known = know(generation, shared.epoch); !known) {
          return known.error();
        }
        reading = take();
        if (__atomic_load_n(&shared.table, __ATOMIC_ACQUIRE) == generation) {
          break;
        }
      }
      std::this_thread::sleep_for(table_pause);
    }
    return reading;
  }

 private:
  struct Maps {
    Mapping shared;
    Counters counters;
  };

  Result<void> know(std::uint32_t generation, std::uint32_t epoch) {
    if (table_.epoch == epoch && table_.generation == generation) {
      return {};
    }
    auto table = MeterTable::read(MeterTable::path());
    if (!table) {
      return table.error();
    }
    table_ = std::move(*table);
    if (table_.epoch != epoch) {  // another meter's: this one has none yet
      table_ = {};
      table_.epoch = epoch;
    }
    return {};
  }

  [[nodiscard]] Reading take() const {
    std::vector<BilledVm> vms;
    for (const TableVm& entry : table_.vms) {
      vms.push_back(entry.vm);
    }
    Reading reading = take_reading(roots_, maps_->counters, std::move(vms));
    reading.epoch = table_.epoch;
    reading.missing = table_.missing;
    return reading;
  }

  Roots roots_;
  MeterPins pins_;
  std::uint64_t identity_ = 0;
  std::optional<Maps> maps_;
  MeterTable table_;
};

}  // namespace

Result<std::unique_ptr<Meter>> open_meter(const Roots& roots) {
  auto meter = std::make_unique<PinnedMeter>(roots);
  if (auto opened = meter->open(); !opened) {
    return opened.error();
  }
  return std::unique_ptr<Meter>(std::move(meter));
}

Result<std::unique_ptr<Meter>> any_meter(const Roots& roots) {
  auto pinned = open_meter(roots);
  return pinned || pinned.error().code != ENOENT ? std::move(pinned) : attach_meter(roots, {});
}

Result<bool> unpin_meter(const Roots& roots) {
  std::error_code ignored;
  std::filesystem::remove(MeterTable::path(), ignored);
  return MeterPins(roots).remove();
}

}  // namespace spare
