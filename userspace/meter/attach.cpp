// SPDX-License-Identifier: GPL-2.0-only
#include "attach.hpp"

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/random.h>
#include <unistd.h>

#include <algorithm>
#include <ctime>
#include <functional>
#include <string_view>
#include <system_error>
#include <thread>

#include "bpf_log.hpp"
#include "kinds.hpp"

using u8 = __u8;
using u16 = __u16;
using u32 = __u32;
using u64 = __u64;
using s32 = __s32;
using s64 = __s64;
#include "meter.skel.h"

namespace spare {
namespace {

constexpr unsigned tell_seconds = 3;
constexpr std::string_view map_prefix = "map_", program_prefix = "prog_", link_prefix = "link_";

using Btf = std::unique_ptr<btf, void (*)(btf*)>;

std::span<const MeterPoint> points() { return meter_points(); }

std::string pin_of(std::string_view prefix, std::string_view name) { return std::string(prefix) + std::string(name); }

bool has(const btf* types, const MeterPoint& point) {
  return point.tracepoint ? btf__find_by_name_kind(types, fmt::format("btf_trace_{}", point.target).c_str(), BTF_KIND_TYPEDEF) > 0
                          : btf__find_by_name_kind(types, point.target, BTF_KIND_FUNC) > 0;
}

bool is_loaded(const MeterPoint& point) { return *point.module != '\0' && ::access(fmt::format("/sys/kernel/btf/{}", point.module).c_str(), F_OK) == 0; }

// That of its globals is "meter_bp.data": a name that the BPF file system does not take.
std::string_view name_of(const bpf_map* map) {
  const std::string_view name = bpf_map__name(map);
  return name.substr(name.rfind('.') + 1);
}

}  // namespace

std::uint64_t meter_build() {
  size_t size = 0;
  const auto* bytes = static_cast<const char*>(meter_bpf__elf_bytes(&size));
  return std::hash<std::string_view>()({bytes, size});
}

void MeterPrograms::Close::operator()(meter_bpf* object) const { meter_bpf__destroy(object); }

MeterPrograms::MeterPrograms(unsigned cpus, std::optional<MeterPins> pins) : cpus_(cpus), pins_(std::move(pins)), states_(points().size()) {}

bool MeterPrograms::wanted(const MeterPoint& point) const { return (!point.steered || steered_) && (!point.limits || (pins_ && is_loaded(point))); }

// Those that are not attached and whose target is there now; of the others says why not.
void MeterPrograms::look_for(std::vector<size_t>& found) {
  const Btf kernel(btf__load_vmlinux_btf(), btf__free);
  std::map<std::string, Btf> modules;
  for (size_t i = 0; i < points().size(); i++) {
    const MeterPoint& point = points()[i];
    State& state = states_[i];
    if (state.program || state.refused || !wanted(point)) {
      continue;
    }
    if (!kernel) {
      state.why = "the kernel has no type information (CONFIG_DEBUG_INFO_BTF)";
      continue;
    }
    const btf* types = kernel.get();
    if (*point.module != '\0') {
      const auto [at, fresh] = modules.try_emplace(point.module, nullptr, btf__free);
      if (fresh) {
        at->second.reset(btf__load_module_btf(point.module, kernel.get()));
      }
      types = at->second.get();
    }
    // (A module that is built in has its types in the kernel's.)
    if (types != nullptr && !has(types, point)) {
      state.why = "this kernel has none";
      state.refused = true;
    } else if (types == nullptr && !has(kernel.get(), point)) {
      state.why = fmt::format("the module {} is not loaded, or has no type information", point.module);
    } else {
      found.push_back(i);
    }
  }
  // Where there is the newer one, the older ones are not wanted.
  const auto wanted = found;
  std::erase_if(found, [&](size_t i) {
    const bool done = points()[i].instead != nullptr && std::any_of(points().begin(), points().end(), [&](const MeterPoint& other) {
                        const auto at = static_cast<size_t>(&other - points().data());
                        return std::string_view(other.program) == points()[i].instead &&
                               (states_[at].program || std::find(wanted.begin(), wanted.end(), at) != wanted.end());
                      });
    states_[i].refused = states_[i].refused || done;
    return done;
  });
}

// With these programs, and with the maps that there are already.
MeterPrograms::Object MeterPrograms::open(const std::vector<size_t>& wanted) const {
  Object object(meter_bpf__open());
  if (!object) {
    return object;
  }
  bpf_program* program = nullptr;
  bpf_object__for_each_program(program, object->obj) {
    const std::string_view name = bpf_program__name(program);
    bpf_program__set_autoload(program, std::any_of(wanted.begin(), wanted.end(), [&](size_t i) { return name == points()[i].program; }));
  }
  bpf_map__set_max_entries(object->maps.cpus, cpus_);
  bpf_map__set_max_entries(object->maps.rows, cpus_ * SPARE_METER_VMS);
  object->rodata->charges = pins_.has_value();
  object->data->meter.build = meter_build();
  static_cast<void>(::getrandom(&object->data->meter.epoch, sizeof(u32), 0));
  bpf_map* map = nullptr;
  bpf_object__for_each_map(map, object->obj) {
    const auto same = maps_.find(name_of(map));
    if (same != maps_.end() && bpf_map__reuse_fd(map, same->second.get()) != 0) {
      return {};
    }
  }
  if (pins_ && !maps_.contains("costs") && !pins_->take_costs(object->maps.costs)) {
    return {};
  }
  return object;
}

// Leaves out of points what the verifier refuses.
Result<MeterPrograms::Object> MeterPrograms::load_some(std::vector<size_t>& wanted) {
  const auto try_load = [&](const std::vector<size_t>& some, std::string& why) -> Object {
    const BpfLog log;
    Object object = open(some);
    const int failed = object ? meter_bpf__load(object.get()) : -errno;
    if (failed != 0) {
      why = fmt::format("{}{}", std::strerror(-failed), log.tail());
      object.reset();
    }
    return object;
  };
  std::string why;
  if (Object object = try_load(wanted, why)) {
    return object;
  }
  std::vector<size_t> good;
  for (const size_t i : wanted) {
    if (try_load({i}, states_[i].why)) {
      good.push_back(i);
    } else {
      states_[i].refused = true;
    }
  }
  wanted = std::move(good);
  if (wanted.empty()) {
    return Error{"the kernel loads none of the meter's programs: " + why};
  }
  Object object = try_load(wanted, why);
  return object ? Result<Object>(std::move(object)) : Result<Object>(Error{"the kernel does not load the meter's programs together: " + why});
}

Result<void> MeterPrograms::take_maps(const Object& object) {
  std::map<std::string, int> pins;
  const bpf_map* map = nullptr;
  bpf_object__for_each_map(map, object->obj) {
    const auto [at, fresh] = maps_.try_emplace(std::string(name_of(map)), ::fcntl(bpf_map__fd(map), F_DUPFD_CLOEXEC, 0));
    pins[pin_of(map_prefix, at->first)] = at->second.get();
  }
  auto shared = Mapping::of(this->map("data"), sizeof(spare_meter_shared), true);
  if (!shared) {
    return shared.error();
  }
  shared_ = std::move(*shared);
  if (!pins_) {
    return {};
  }
  const auto replaced = pins_->replace(pins);
  return replaced ? pins_->put_costs(this->map("costs")) : replaced;
}

// All of them are tracing programs: the kernel knows where each belongs.
bool MeterPrograms::link(size_t i) {
  State& state = states_[i];
  state.link = Fd(bpf_raw_tracepoint_open(nullptr, state.program.get()));
  if (!state.link) {
    state.why = fmt::format("the kernel does not attach to it: {}", std::strerror(errno));
    return false;
  }
  if (pins_) {
    const std::string name = pin_of(link_prefix, points()[i].program);
    pins_->drop(name);
    if (auto pinned = pins_->put(name, state.link.get()); !pinned) {
      state.why = pinned.error().text;
      state.link.reset();
      return false;
    }
  }
  return true;
}

// Whoever closes a function's last link waits until every task has been seen to give up its CPU, which tenants may delay: not here.
void MeterPrograms::unlink(size_t i) {
  if (pins_) {
    pins_->drop(pin_of(link_prefix, points()[i].program));
  }
  ++*ending_;
  auto end = [ending = ending_, link = std::make_shared<Fd>(std::move(states_[i].link))] {
    link->reset();
    --*ending;
  };
  try {
    std::thread(end).detach();  // nobody waits for it, also not at the end
  } catch (const std::system_error&) {
    end();
  }
}

void MeterPrograms::attach(const Object& object, const std::vector<size_t>& wanted) {
  const BpfLog log;
  verified_ += verified_instructions(object->obj);
  for (const size_t i : wanted) {
    State& state = states_[i];
    state.program = Fd(::fcntl(bpf_program__fd(bpf_object__find_program_by_name(object->obj, points()[i].program)), F_DUPFD_CLOEXEC, 0));
    const std::string name = pin_of(program_prefix, points()[i].program);
    const auto pinned = pins_ ? pins_->put(name, state.program.get()) : Result<void>();
    if (!pinned || !link(i)) {
      state.why = pinned ? state.why : pinned.error().text;
      state.refused = true;
      state.program.reset();
      if (pins_) {
        pins_->drop(name);
      }
    }
  }
}

Result<unsigned> MeterPrograms::possible_cpus() {
  const int cpus = libbpf_num_possible_cpus();
  return cpus > 0 ? Result<unsigned>(static_cast<unsigned>(cpus)) : errno_error("how many CPUs there may be cannot be read", -cpus);
}

Result<MeterPrograms> MeterPrograms::load(std::optional<MeterPins> pins) {
  const auto cpus = possible_cpus();
  if (!cpus) {
    return cpus.error();
  }
  MeterPrograms programs(*cpus, std::move(pins));
  std::vector<size_t> wanted;
  programs.look_for(wanted);
  if (wanted.empty()) {
    return Error{"the meter: " + programs.states_.front().why};
  }
  auto object = programs.load_some(wanted);
  if (!object) {
    return object.error();
  }
  if (auto taken = programs.take_maps(*object); !taken) {
    return taken.error();
  }
  programs.attach(*object, wanted);
  if (!programs.states_.front().program) {
    return Error{fmt::format("the meter: {}: {}", points()[0].name(), programs.states_.front().why)};
  }
  return programs;
}

Result<MeterPrograms> MeterPrograms::adopt(MeterPins pins) {
  const auto cpus = possible_cpus();
  if (!cpus || pins.identity() == 0) {
    return cpus ? errno_error("no meter is pinned", ENOENT) : cpus.error();
  }
  MeterPrograms programs(*cpus, pins);
  const Object object = programs.open({});
  if (!object) {
    return errno_error("the meter's programs");
  }
  const bpf_map* map = nullptr;
  bpf_object__for_each_map(map, object->obj) {
    Fd pinned = pins.get(pin_of(map_prefix, name_of(map)));
    if (!pinned) {
      return Error{"the meter that is pinned is another build's", EPROTO};
    }
    programs.maps_.emplace(name_of(map), std::move(pinned));
  }
  auto shared = Mapping::of(programs.map("data"), sizeof(spare_meter_shared), true);
  if (!shared || shared->as<spare_meter_shared>()->build != meter_build()) {
    return Error{"the meter that is pinned is another build's", EPROTO};
  }
  programs.shared_ = std::move(*shared);
  if (auto pinned = pins.put_costs(programs.map("costs")); !pinned) {
    return pinned.error();
  }
  for (size_t i = 0; i < points().size(); i++) {
    State& state = programs.states_[i];
    state.program = pins.get(pin_of(program_prefix, points()[i].program));
    state.link = pins.get(pin_of(link_prefix, points()[i].program));
    if (state.program && !state.link && !points()[i].tells && !programs.link(i)) {
      state.program.reset();
      pins.drop(pin_of(program_prefix, points()[i].program));
    }
  }
  programs.steered_ = __atomic_load_n(&programs.shared().steers, __ATOMIC_RELAXED) != 0;
  programs.extend();
  if (!programs.states_.front().program) {
    return Error{fmt::format("the meter that is pinned: {}: {}", points()[0].name(), programs.states_.front().why), EPROTO};
  }
  return programs;
}

// What can be attached now and is not.
void MeterPrograms::extend() {
  std::vector<size_t> wanted;
  look_for(wanted);
  auto object = wanted.empty() ? Result<Object>(Error{}) : load_some(wanted);
  if (object) {
    attach(*object, wanted);
  }
}

bool MeterPrograms::attach_more(bool napi) {
  steered_ = steered_ || napi || __atomic_load_n(&shared().steers, __ATOMIC_RELAXED) != 0;
  const bool come = std::any_of(points().begin(), points().end(), [&](const MeterPoint& point) {
    const State& state = states_[static_cast<size_t>(&point - points().data())];
    return !state.program && !state.refused && wanted(point) && (point.steered || is_loaded(point));
  });
  // (While a link ends the kernel lets no other begin.)
  if (!come || *ending_ > 0) {
    return false;
  }
  const auto attached = [&] { return std::count_if(states_.begin(), states_.end(), [](const State& state) { return static_cast<bool>(state.program); }); };
  const auto before = attached();
  extend();
  return attached() > before;
}

void MeterPrograms::tend() {
  if (*ending_ > 0) {
    return;
  }
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  const auto seen = __atomic_load_n(&shared().worker_ns, __ATOMIC_RELAXED) / 1000000000U;
  const bool wanted = seen != 0 && static_cast<std::uint64_t>(now.tv_sec) < seen + tell_seconds;
  for (size_t i = 0; i < points().size(); i++) {
    State& state = states_[i];
    if (!points()[i].tells || !state.program || wanted == static_cast<bool>(state.link)) {
      continue;
    }
    if (wanted) {
      static_cast<void>(link(i));
    } else {
      unlink(i);
    }
  }
}

std::vector<MissingPart> MeterPrograms::missing() const {
  std::vector<MissingPart> missing;
  const auto attached = [&](const MeterPoint& point) { return static_cast<bool>(states_[static_cast<size_t>(&point - points().data())].program); };
  for (size_t i = 0; i < points().size(); i++) {
    const bool done_by_older = std::any_of(points().begin(), points().end(), [&](const MeterPoint& other) {
      return other.instead != nullptr && std::string_view(other.instead) == points()[i].program && attached(other);
    });
    if (!states_[i].program && points()[i].instead == nullptr && !done_by_older && wanted(points()[i])) {
      missing.push_back({points()[i].name(), states_[i].why, points()[i].part});
    }
  }
  return missing;
}

void MeterPrograms::forget() { __atomic_add_fetch(&shared().gen, 1, __ATOMIC_RELEASE); }

}  // namespace spare
