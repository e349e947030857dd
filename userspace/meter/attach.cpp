// SPDX-License-Identifier: GPL-2.0-only
#include "attach.hpp"

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <ctime>
#include <iterator>
#include <map>
#include <numeric>
#include <string_view>

#include "bpf_log.hpp"
#include "sched_spare/abi.h"
#define SPARE_METER_READER
#include "sched_spare/meter.h"

using u8 = __u8;
using u16 = __u16;
using u32 = __u32;
using u64 = __u64;
using s32 = __s32;
using s64 = __s64;
#include "meter.skel.h"

namespace spare {
namespace {

// Where the meter looks, and what cannot be told without.
struct Point {
  const char* program;  // in meter.bpf.c
  bool tracepoint;      // else a function
  const char* target;
  const char* module;  // "" the kernel itself
  const char* part;
  const char* instead = nullptr;  // a program that does the same: this one is only for kernels that lack that
  bool steered = false;           // only where packets of VMs' taps are served in softirqs
  bool tells = false;             // whether a thread is a vhost worker
};

// In the order in which they are attached: an end without a beginning is nothing.
constexpr Point points[] = {
    {"meter_switch", true, "sched_switch", "", "everything"},
    {"meter_softirq_exit", true, "softirq_exit", "", "softirq: it is in the bill of the thread that it interrupts"},
    {"meter_softirq_enter", true, "softirq_entry", "", "softirq: it is in the bill of the thread that it interrupts"},
    {"meter_irq_exit", true, "irq_handler_exit", "", "hard interrupts: they are in the bill of what they interrupt"},
    {"meter_irq_enter", true, "irq_handler_entry", "", "hard interrupts: they are in the bill of what they interrupt"},
    {"meter_timer_exit", true, "local_timer_exit", "", "the timer's interrupts: they are in the bill of what they interrupt"},
    {"meter_timer_enter", true, "local_timer_entry", "", "the timer's interrupts: they are in the bill of what they interrupt"},
    {"meter_call_exit", true, "call_function_single_exit", "", "what other CPUs ask for by interrupt: it is in the bill of what it interrupts"},
    {"meter_call_enter", true, "call_function_single_entry", "", "what other CPUs ask for by interrupt: it is in the bill of what it interrupts"},
    {"meter_sent", true, "net_dev_xmit", "", "softirq to VMs: it is in the host network's bill"},
    {"meter_host_ip", false, "ip_local_deliver", "", "the host's own IP packets in softirq: those before a VM's packet are in the VM's bill"},
    {"meter_host_ip6", false, "ip6_input", "", "the host's own IPv6 packets in softirq: those before a VM's packet are in the VM's bill"},
    {"meter_host_arp", false, "arp_rcv", "", "the host's own ARP packets in softirq: those before a VM's packet are in the VM's bill"},
    {"meter_packet", true, "netif_receive_skb", "", "what VMs whose taps have RPS or IFF_NAPI send: its softirq is in the bill of who receives it", nullptr, true},
    {"meter_guest_enter", true, "kvm_entry", "kvm", "vCPUs: their threads count as the emulator's, and VMs without vhost are not found"},
    {"meter_guest_exit", true, "kvm_exit", "kvm", "vCPUs: what they do on the host counts as the guest's"},
    {"meter_vhost", false, "vhost_run_work_list", "vhost", "vhost: its threads count as the VM's kernel threads", nullptr, false, true},
    {"meter_vhost_rx", false, "handle_rx", "vhost_net", "vhost: its threads count as the VM's kernel threads", "meter_vhost", false, true},
    {"meter_vhost_tx", false, "handle_tx", "vhost_net", "vhost: its threads count as the VM's kernel threads", "meter_vhost", false, true},
    {"meter_iothread", false, "eventfd_read", "", "iothreads: they count as the emulator's"},
};

constexpr unsigned tell_seconds = 3;

using Btf = std::unique_ptr<btf, void (*)(btf*)>;

bool has(const btf* types, const Point& point) {
  return point.tracepoint ? btf__find_by_name_kind(types, fmt::format("btf_trace_{}", point.target).c_str(), BTF_KIND_TYPEDEF) > 0
                          : btf__find_by_name_kind(types, point.target, BTF_KIND_FUNC) > 0;
}

std::string name_of(const Point& point) { return fmt::format("{} {}", point.tracepoint ? "tracepoint" : "function", point.target); }

}  // namespace

void MeterPrograms::Close::operator()(meter_bpf* object) const { meter_bpf__destroy(object); }
void MeterPrograms::Close::operator()(bpf_link* link) const { bpf_link__destroy(link); }

MeterPrograms::MeterPrograms(unsigned cpus) : cpus_(cpus), states_(std::size(points)) {}

// Those that are not attached and whose target is there now; of the others says why not.
void MeterPrograms::look_for(std::vector<size_t>& found) {
  const Btf kernel(btf__load_vmlinux_btf(), btf__free);
  std::map<std::string, Btf> modules;
  for (size_t i = 0; i < std::size(points); i++) {
    const Point& point = points[i];
    State& state = states_[i];
    if (state.attached || state.refused || (point.steered && !steered_)) {
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
    const bool done = points[i].instead != nullptr && std::any_of(std::begin(points), std::end(points), [&](const Point& other) {
                        const auto at = static_cast<size_t>(&other - points);
                        return std::string_view(other.program) == points[i].instead &&
                               (states_[at].attached || std::find(wanted.begin(), wanted.end(), at) != wanted.end());
                      });
    states_[i].refused = states_[i].refused || done;
    return done;
  });
}

// With these programs, and with the maps of the first object if there is one.
MeterPrograms::Object MeterPrograms::open(const std::vector<size_t>& wanted) const {
  Object object(meter_bpf__open());
  if (!object) {
    return object;
  }
  bpf_program* program = nullptr;
  bpf_object__for_each_program(program, object->obj) {
    const std::string_view name = bpf_program__name(program);
    bpf_program__set_autoload(program, std::any_of(wanted.begin(), wanted.end(), [&](size_t i) { return name == points[i].program; }));
  }
  if (objects_.empty()) {
    bpf_map__set_max_entries(object->maps.cpus, cpus_);
    bpf_map__set_max_entries(object->maps.rows, cpus_ * SPARE_METER_VMS);
    return object;
  }
  const bpf_map* map = nullptr;
  bpf_object__for_each_map(map, objects_.front()->obj) {
    bpf_map* same = bpf_object__find_map_by_name(object->obj, bpf_map__name(map));
    if (same == nullptr || bpf_map__reuse_fd(same, bpf_map__fd(map)) != 0) {
      return {};
    }
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

void MeterPrograms::attach(Object object, const std::vector<size_t>& wanted) {
  const BpfLog log;
  for (const size_t i : wanted) {
    states_[i].program = bpf_object__find_program_by_name(object->obj, points[i].program);
    states_[i].link.reset(bpf_program__attach(states_[i].program));
    if (states_[i].link) {
      states_[i].attached = true;
    } else {
      states_[i].refused = true;
      states_[i].why = fmt::format("the kernel does not attach to it: {}", std::strerror(errno));
    }
  }
  objects_.push_back(std::move(object));
}

Result<MeterPrograms> MeterPrograms::load() {
  const int cpus = libbpf_num_possible_cpus();
  if (cpus <= 0) {
    return errno_error("how many CPUs there may be cannot be read", -cpus);
  }
  MeterPrograms programs(static_cast<unsigned>(cpus));
  std::vector<size_t> wanted;
  programs.look_for(wanted);
  if (wanted.empty()) {
    return Error{"the meter: " + programs.states_.front().why};
  }
  auto object = programs.load_some(wanted);
  if (!object) {
    return object.error();
  }
  programs.attach(std::move(*object), wanted);
  if (!programs.states_.front().attached) {
    return Error{fmt::format("the meter: {}: {}", name_of(points[0]), programs.states_.front().why)};
  }
  return programs;
}

bool MeterPrograms::attach_more(bool napi) {
  steered_ = steered_ || napi || __atomic_load_n(&objects_.front()->bss->meter_steers, __ATOMIC_RELAXED) != 0;
  const bool come = std::any_of(std::begin(points), std::end(points), [&](const Point& point) {
    const State& state = states_[static_cast<size_t>(&point - points)];
    return !state.attached && !state.refused && (point.steered ? steered_ : *point.module != '\0' && ::access(fmt::format("/sys/kernel/btf/{}", point.module).c_str(), F_OK) == 0);
  });
  if (!come) {
    return false;
  }
  std::vector<size_t> wanted;
  look_for(wanted);
  if (wanted.empty()) {
    return false;
  }
  auto object = load_some(wanted);
  if (!object) {
    return false;
  }
  attach(std::move(*object), wanted);
  return true;
}

void MeterPrograms::tend() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  const auto seen = __atomic_load_n(&objects_.front()->bss->meter_worker_ns, __ATOMIC_RELAXED) / 1000000000U;
  const bool wanted = seen != 0 && static_cast<std::uint64_t>(now.tv_sec) < seen + tell_seconds;
  for (size_t i = 0; i < std::size(points); i++) {
    State& state = states_[i];
    if (!points[i].tells || !state.attached || wanted == static_cast<bool>(state.link)) {
      continue;
    }
    state.link.reset(wanted ? bpf_program__attach(state.program) : nullptr);
  }
}

std::vector<MissingPart> MeterPrograms::missing() const {
  std::vector<MissingPart> missing;
  const auto attached = [&](std::string_view program) {
    for (size_t i = 0; i < std::size(points); i++) {
      if (points[i].program == program) {
        return states_[i].attached;
      }
    }
    return false;
  };
  for (size_t i = 0; i < std::size(points); i++) {
    const bool done_by_older = std::any_of(std::begin(points), std::end(points), [&](const Point& other) {
      return other.instead != nullptr && std::string_view(other.instead) == points[i].program && attached(other.program);
    });
    if (!states_[i].attached && points[i].instead == nullptr && !done_by_older && (!points[i].steered || steered_)) {
      missing.push_back({name_of(points[i]), states_[i].why, points[i].part});
    }
  }
  return missing;
}

int MeterPrograms::map(const char* name) const { return bpf_object__find_map_fd_by_name(objects_.front()->obj, name); }

std::uint64_t MeterPrograms::verified() const {
  return std::accumulate(objects_.begin(), objects_.end(), std::uint64_t{0},
                         [](std::uint64_t sum, const Object& object) { return sum + verified_instructions(object->obj); });
}

void MeterPrograms::forget() { __atomic_add_fetch(&objects_.front()->data->meter_gen, 1, __ATOMIC_RELEASE); }

}  // namespace spare
