// SPDX-License-Identifier: GPL-2.0-only
#include "systemd.hpp"

#include <fmt/format.h>
#include <sys/xattr.h>
#include <systemd/sd-bus.h>
#include <systemd/sd-id128.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <iterator>
#include <memory>
#include <optional>
#include <string_view>
#include <utility>

#include "cap.hpp"
#include "util/files.hpp"

namespace spare {
namespace {

constexpr std::string_view slice_suffix = ".slice";
constexpr std::string_view other_suffixes[] = {".service", ".scope", ".socket", ".mount", ".swap"};
// systemd.resource-control(5), Delegate=: the directory then has one of these. (Before systemd 251 the second alone.)
constexpr const char* delegated_attributes[] = {"user.delegate", "trusted.delegate"};
constexpr std::uint64_t weight_of_all = 100;  // what a cgroup has that nobody has given a weight
constexpr std::uint64_t no_limit = UINT64_MAX;
constexpr const char *systemd_name = "org.freedesktop.systemd1", *systemd_object = "/org/freedesktop/systemd1";
constexpr const char* systemd_manager = "org.freedesktop.systemd1.Manager";
constexpr const char *machined_name = "org.freedesktop.machine1", *machine_objects = "/org/freedesktop/machine1/machine";
constexpr const char* machine_interface = "org.freedesktop.machine1.Machine";
constexpr std::chrono::milliseconds answer_limit{5000};  // who asks waits for it
constexpr std::chrono::milliseconds uuids_limit{200};    // for what is nice to know
constexpr int first_memory_node = 1;          // a mask of bits; each host has node 0

bool is_slice(const std::string& name) { return name.ends_with(slice_suffix); }

bool is_delegated(const std::filesystem::path& dir) {
  return std::any_of(std::begin(delegated_attributes), std::end(delegated_attributes), [&](const char* name) {
    char value = 0;
    return ::getxattr(dir.c_str(), name, &value, sizeof(value)) == 1 && value == '1';
  });
}

// A connection to the system bus, and a time by which all that it is asked is answered.
class Bus {
 public:
  // (sd_bus_call() would wait 90 s for a bus that takes the connection and does not greet, whatever a call's limit is.)
  static Result<Bus> open(std::chrono::milliseconds limit) {
    sd_bus* opened = nullptr;
    int done = ::sd_bus_open_system(&opened);
    Bus bus(opened, Clock::now() + limit);
    while (done >= 0 && (done = ::sd_bus_is_ready(opened)) == 0) {
      done = ::sd_bus_process(opened, nullptr);
      if (done == 0 && (done = ::sd_bus_wait(opened, bus.left_us())) == 0) {
        done = -ETIMEDOUT;
      }
    }
    return done >= 0 ? Result<Bus>(std::move(bus)) : errno_error("systemd cannot be asked, the system bus", -done);
  }

  // For one call, which has what is left of the time.
  [[nodiscard]] sd_bus* call() const {
    static_cast<void>(::sd_bus_set_method_call_timeout(bus_.get(), left_us()));
    return bus_.get();
  }

 private:
  using Clock = std::chrono::steady_clock;

  Bus(sd_bus* bus, Clock::time_point until) : bus_(bus, ::sd_bus_close_unref), until_(until) {}
  // (0 is the library's own limit.)
  [[nodiscard]] std::uint64_t left_us() const {
    return static_cast<std::uint64_t>(std::max<std::int64_t>(std::chrono::duration_cast<std::chrono::microseconds>(until_ - Clock::now()).count(), 1));
  }

  std::unique_ptr<sd_bus, sd_bus* (*)(sd_bus*)> bus_;
  Clock::time_point until_;
};

class BusError {
 public:
  BusError() = default;
  ~BusError() { ::sd_bus_error_free(&error_); }
  BusError(const BusError&) = delete;
  BusError& operator=(const BusError&) = delete;

  sd_bus_error* to() { return &error_; }
  [[nodiscard]] bool is(const char* name) const { return ::sd_bus_error_has_name(&error_, name) != 0; }
  [[nodiscard]] const char* reason(int failed) const { return error_.message != nullptr ? error_.message : std::strerror(-failed); }

 private:
  sd_bus_error error_ = SD_BUS_ERROR_NULL;
};

// Of a machine that is that scope's; empty: none is. Nothing: who could know has not said.
std::optional<std::string> machine_uuid(const Bus& bus, const std::string& machine, const std::string& scope) {
  const auto free = [](auto* memory) { std::free(memory); };
  char *path = nullptr, *unit = nullptr;
  if (::sd_bus_path_encode(machine_objects, machine.c_str(), &path) < 0) {
    return std::string();
  }
  const std::unique_ptr<char, decltype(free)> path_held(path, free);
  BusError error;
  int failed = ::sd_bus_get_property_string(bus.call(), machined_name, path, machine_interface, "Unit", error.to(), &unit);
  const std::unique_ptr<char, decltype(free)> unit_held(unit, free);
  if (error.is("org.freedesktop.machine1.NoSuchMachine") || error.is(SD_BUS_ERROR_UNKNOWN_OBJECT) || (failed >= 0 && scope != unit)) {
    return std::string();
  }
  if (failed < 0) {
    return std::nullopt;
  }
  sd_bus_message* answer = nullptr;
  failed = ::sd_bus_get_property(bus.call(), machined_name, path, machine_interface, "Id", nullptr, &answer, "ay");
  const std::unique_ptr<sd_bus_message, sd_bus_message* (*)(sd_bus_message*)> answer_held(answer, ::sd_bus_message_unref);
  const void* bytes = nullptr;
  size_t size = 0;
  sd_id128_t id{};
  if (failed < 0 || ::sd_bus_message_read_array(answer, 'y', &bytes, &size) < 0 || size != sizeof(id)) {
    return std::nullopt;
  }
  std::memcpy(&id, bytes, sizeof(id));
  char text[SD_ID128_UUID_STRING_MAX];
  return ::sd_id128_is_null(id) ? std::string() : std::string(::sd_id128_to_uuid_string(id, text));
}

}  // namespace

bool systemd_runs(const Roots& roots) {
  const auto name = read_file(roots.proc / "1/comm");
  return name && trim(*name) == "systemd";
}

bool is_unit_name(const std::string& name) {
  return is_slice(name) || std::any_of(std::begin(other_suffixes), std::end(other_suffixes),
                                       [&](std::string_view suffix) { return name.ends_with(suffix); });
}

SystemdPart systemd_part(const std::filesystem::path& mount, const std::vector<std::string>& path) {
  SystemdPart part;
  std::filesystem::path dir = mount;
  while (part.slices + 1 < path.size() && is_slice(path[part.slices])) {
    dir /= path[part.slices++];
  }
  part.closed = part.slices < path.size() && is_unit_name(path[part.slices]) && !is_delegated(dir / path[part.slices]);
  return part;
}

std::optional<std::string> systemds_unit(const std::filesystem::path& mount, const std::vector<std::string>& path) {
  const SystemdPart part = systemd_part(mount, path);
  if (part.slices + 1 != path.size() || !is_unit_name(path.back())) {
    return std::nullopt;
  }
  const std::string& name = path.back();
  return name.starts_with('_') ? name.substr(1) : name;  // so escaped where it could be a file of the kernel's
}

Result<void> set_unit_cap(const std::string& unit, const std::string& cpu_max) {
  const auto bus = Bus::open(answer_limit);
  if (!bus) {
    return bus.error();
  }
  const auto quota = unit_quota(cpu_max);
  BusError error;
  const int failed = ::sd_bus_call_method(
      bus->call(), systemd_name, systemd_object, systemd_manager, "SetUnitProperties", error.to(), nullptr, "sba(sv)", unit.c_str(), 1, 2,
      "CPUQuotaPeriodUSec", "t", quota ? quota->period_us : no_limit, "CPUQuotaPerSecUSec", "t", quota ? quota->per_second_us : no_limit);
  Result<void> asked;
  if (failed < 0) {
    const bool gone = error.is("org.freedesktop.systemd1.NoSuchUnit");
    asked = Error{fmt::format("systemd does not set CPUQuota of {}: {}", unit, error.reason(failed)), gone ? ENODEV : -failed};
  }
  return asked;
}

std::string controllers_unit(const std::string& slice) {
  return slice == "-.slice" ? "spare.slice" : slice.substr(0, slice.size() - slice_suffix.size()) + "-spare.slice";
}

Result<void> ask_for_controllers(const std::string& slice) {
  const auto bus = Bus::open(answer_limit);
  if (!bus) {
    return bus.error();
  }
  const std::string name = controllers_unit(slice);
  const std::string what = "sched_spare: has the controllers cpu, io and cpuset enabled in " + slice;
  BusError error;
  const int failed = ::sd_bus_call_method(
      bus->call(), systemd_name, systemd_object, systemd_manager, "StartTransientUnit", error.to(), nullptr, "ssa(sv)a(sa(sv))", name.c_str(), "fail", 4, "Description", "s", what.c_str(), "CPUWeight", "t", weight_of_all,
      "IOWeight", "t", weight_of_all, "AllowedMemoryNodes", "ay", 1, first_memory_node, 0);
  Result<void> asked;
  // One that is there has the same settings: another of us has been quicker.
  if (failed < 0 && !error.is("org.freedesktop.systemd1.UnitExists")) {
    asked = Error{fmt::format("systemd does not start {}: {}", name, error.reason(failed)), -failed};
  }
  return asked;
}

std::map<std::string, std::string> machine_uuids(const std::map<std::string, std::string>& machines) {
  std::map<std::string, std::string> uuids;
  const auto bus = Bus::open(uuids_limit);
  for (const auto& [scope, machine] : bus ? machines : decltype(uuids)()) {
    auto uuid = machine_uuid(*bus, machine, scope);
    if (!uuid) {
      break;
    }
    uuids[scope] = std::move(*uuid);
  }
  return uuids;
}

}  // namespace spare
