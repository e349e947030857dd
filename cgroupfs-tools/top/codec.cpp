// SPDX-License-Identifier: GPL-2.0-only
#include "top/codec.hpp"

#include <algorithm>

#include "top/bytes.hpp"
#include "util/files.hpp"

namespace sparectl::top {
namespace {

constexpr std::size_t most_vms = 16384, most_cpus = 8192, most_servers = 1 << 20;
constexpr std::uint64_t vm_texts = 1, vm_provider = 2, vm_capped = 4, sample_class_runs = 1, sample_metered = 2;

// Those that have changed, each with its distance from the one before; what is no longer known is said first.
template <typename Name, std::size_t n>
void put_values(ByteWriter& to, const Values<Name, n>& before, const Values<Name, n>& now) {
  const auto changed = [&](std::size_t i) { return now.known[i] && (!before.known[i] || before.value[i] != now.value[i]); };
  const auto lost = [&](std::size_t i) { return before.known[i] && !now.known[i]; };
  std::size_t gone = 0, news = 0;
  for (std::size_t i = 0; i < n; i++) {
    gone += lost(i) ? 1 : 0;
    news += changed(i) ? 1 : 0;
  }
  to.number(gone);
  for (std::size_t i = 0; i < n; i++) {
    if (lost(i)) {
      to.number(i);
    }
  }
  to.number(news);
  for (std::size_t i = 0, last = 0; i < n; i++) {
    if (changed(i)) {
      to.number(i - last);
      to.difference(before.known[i] ? before.value[i] : 0, now.value[i]);
      last = i;
    }
  }
}

// By the recording's numbers; what this version does not know is left out.
template <typename Name, std::size_t n, typename Ours>
void take_values(ByteReader& from, Values<Name, n>& values, std::size_t names, Ours ours) {
  for (std::size_t left = from.count(); left > 0 && !from.failed(); left--) {
    const std::uint64_t i = from.number();
    if (const auto name = i < names ? ours(i) : std::nullopt) {
      values.known.reset(static_cast<std::size_t>(*name));
      values.value[static_cast<std::size_t>(*name)] = 0;
    }
  }
  std::uint64_t at = 0;
  for (std::size_t left = from.count(); left > 0 && !from.failed(); left--) {
    at += from.number();
    const std::uint64_t d = from.number();
    if (const auto name = at < names ? ours(at) : std::nullopt) {
      const auto i = static_cast<std::size_t>(*name);
      values.set(*name, (values.known[i] ? values.value[i] : 0) + (d >> 1 ^ (0 - (d & 1))));
    }
  }
}

bool same_texts(const VmSample& a, const VmSample& b) {
  return a.name == b.name && a.runtime_us == b.runtime_us && a.period_us == b.period_us && a.cpus == b.cpus && a.use == b.use && a.netdev == b.netdev && a.policy == b.policy;
}

void put_vm(ByteWriter& to, const VmSample& before, const VmSample& vm) {
  const bool texts = !same_texts(before, vm);
  to.number((texts ? vm_texts : 0) | (vm.provider ? vm_provider : 0) | (vm.capped ? vm_capped : 0));
  if (texts) {
    to.text(vm.name);
    to.number(vm.runtime_us);
    to.number(vm.period_us);
    for (const std::string* text : {&vm.cpus, &vm.use, &vm.netdev, &vm.policy}) {
      to.text(*text);
    }
  }
  put_values(to, before.values, vm.values);
  to.number(vm.servers.size());
  for (std::size_t i = 0; i < vm.servers.size(); i++) {
    const ServerSample had = i < before.servers.size() ? before.servers[i] : ServerSample();
    const ServerSample& server = vm.servers[i];
    to.number(server.cpu);
    to.number(static_cast<std::uint64_t>(server.state) << 1 | (server.claimed ? 1 : 0));
    to.difference(static_cast<std::uint64_t>(had.q_ns), static_cast<std::uint64_t>(server.q_ns));
    to.difference(had.d_ns, server.d_ns);
    to.difference(had.used_ns, server.used_ns);
  }
}

// servers_left: so many more may be in the sample. False: there are more.
bool take_vm(ByteReader& from, VmSample& vm, const NameMap& names, std::size_t& servers_left) {
  const std::uint64_t flags = from.number();
  vm.provider = (flags & vm_provider) != 0;
  vm.capped = (flags & vm_capped) != 0;
  if ((flags & vm_texts) != 0) {
    vm.name = spare::printable(from.text());
    vm.runtime_us = from.number();
    vm.period_us = from.number();
    for (std::string* text : {&vm.cpus, &vm.use, &vm.netdev, &vm.policy}) {
      *text = spare::printable(from.text());
    }
  }
  take_values(from, vm.values, names.vm_names(), [&](std::size_t i) { return names.vm(i); });
  const std::size_t n = from.count();
  if (n > servers_left) {
    return false;
  }
  servers_left -= n;
  vm.servers.resize(n);
  for (ServerSample& server : vm.servers) {
    server.cpu = static_cast<std::uint32_t>(from.number());
    const std::uint64_t state = from.number();
    server.claimed = (state & 1) != 0;
    server.state = static_cast<ServerState>(std::min<std::uint64_t>(state >> 1, static_cast<std::uint64_t>(ServerState::unknown)));
    server.q_ns = static_cast<std::int64_t>(from.after(static_cast<std::uint64_t>(server.q_ns)));
    server.d_ns = from.after(server.d_ns);
    server.used_ns = from.after(server.used_ns);
  }
  return true;
}

decltype(CpuSample::values) values_in(const Sample& before, std::uint32_t cpu) {
  const auto had = std::lower_bound(before.cpus.begin(), before.cpus.end(), cpu, [](const CpuSample& one, std::uint32_t number) { return one.cpu < number; });
  return had != before.cpus.end() && had->cpu == cpu ? had->values : decltype(CpuSample::values)();
}

}  // namespace

bool fits(const Sample& sample) {
  std::size_t servers = 0;
  for (const VmSample& vm : sample.vms) {
    servers += vm.servers.size();
  }
  return sample.vms.size() <= most_vms && sample.cpus.size() <= most_cpus && servers <= most_servers;
}

std::string encode_names() {
  ByteWriter to;
  to.number(counters);
  for (const CounterInfo& info : counter_table) {
    to.text(info.name);
  }
  to.number(cpu_counters);
  for (const CounterInfo& info : cpu_counter_table) {
    to.text(info.name);
  }
  return to.take();
}

spare::Result<NameMap> NameMap::decode(std::string_view bytes) {
  NameMap map;
  ByteReader from(bytes);
  for (std::size_t left = from.count(); left > 0; left--) {
    map.vm_.push_back(counter_of(from.text()));
  }
  for (std::size_t left = from.count(); left > 0; left--) {
    const std::string_view name = from.text();
    const auto found = std::find_if(cpu_counter_table.begin(), cpu_counter_table.end(), [&](const CounterInfo& info) { return name == info.name; });
    map.cpu_.push_back(found == cpu_counter_table.end() ? std::nullopt : std::optional(static_cast<CpuCounter>(found - cpu_counter_table.begin())));
  }
  return from.failed() || !from.at_end() ? spare::Result<NameMap>(spare::Error{"the names of its counters cannot be read"}) : map;
}

std::string encode(const Sample& before, const Sample& sample) {
  ByteWriter to;
  to.difference(before.monotonic_ns, sample.monotonic_ns);
  to.difference(static_cast<std::uint64_t>(before.real_ns), static_cast<std::uint64_t>(sample.real_ns));
  to.text(sample.boot);
  to.text(sample.state);
  to.number((sample.class_runs ? sample_class_runs : 0) | (sample.metered ? sample_metered : 0));
  to.number(sample.limit_ppm);
  to.number(sample.missing.size());
  for (const std::string& text : sample.missing) {
    to.text(text);
  }
  to.number(sample.cpus.size());
  for (const CpuSample& cpu : sample.cpus) {
    to.number(cpu.cpu);
    put_values(to, values_in(before, cpu.cpu), cpu.values);
  }
  to.number(sample.vms.size());
  for (const VmSample& vm : sample.vms) {
    const auto had = std::lower_bound(before.vms.begin(), before.vms.end(), vm.path, [](const VmSample& one, const std::string& path) { return one.path < path; });
    const bool known = had != before.vms.end() && had->path == vm.path && had->id == vm.id;
    to.number(known ? static_cast<std::uint64_t>(had - before.vms.begin()) + 1 : 0);
    if (!known) {
      to.text(vm.path);
      to.number(vm.id);
    }
    put_vm(to, known ? *had : VmSample(), vm);
  }
  return to.take();
}

spare::Result<Sample> decode(const Sample& before, std::string_view bytes, const NameMap& names) {
  Sample sample;
  ByteReader from(bytes);
  sample.monotonic_ns = from.after(before.monotonic_ns);
  sample.real_ns = static_cast<std::int64_t>(from.after(static_cast<std::uint64_t>(before.real_ns)));
  sample.boot = from.text();
  sample.state = spare::printable(from.text());
  const std::uint64_t flags = from.number();
  sample.class_runs = (flags & sample_class_runs) != 0;
  sample.metered = (flags & sample_metered) != 0;
  sample.limit_ppm = from.number();
  for (std::size_t left = from.count(); left > 0; left--) {
    sample.missing.push_back(spare::printable(from.text()));
  }
  const std::size_t cpus = from.count();
  for (std::size_t left = std::min(cpus, most_cpus); left > 0 && !from.failed(); left--) {
    CpuSample cpu;
    cpu.cpu = static_cast<std::uint32_t>(from.number());
    cpu.values = values_in(before, cpu.cpu);
    take_values(from, cpu.values, names.cpu_names(), [&](std::size_t i) { return names.cpu(i); });
    sample.cpus.push_back(cpu);
  }
  std::uint64_t last = 0;
  const std::size_t vms = from.count();
  std::size_t servers_left = most_servers;
  if (cpus > most_cpus || vms > most_vms) {
    return spare::Error{"it has more VMs or CPUs than there are"};
  }
  for (std::size_t left = vms; left > 0 && !from.failed(); left--) {
    const std::uint64_t reference = from.number();
    // Each at most once, or a few bytes would make a great many VMs.
    if (reference > before.vms.size() || (reference != 0 && reference <= last)) {
      return spare::Error{"it refers to a VM that there is not"};
    }
    last = std::max(last, reference);
    VmSample vm = reference == 0 ? VmSample() : before.vms[reference - 1];
    if (reference == 0) {
      vm.path = spare::printable(from.text());
      vm.id = from.number();
    }
    if (!take_vm(from, vm, names, servers_left)) {
      return spare::Error{"it has more servers than there are"};
    }
    sample.vms.push_back(std::move(vm));
  }
  // Whoever pairs samples relies on the order.
  if (from.failed() || !from.at_end() ||
      !std::is_sorted(sample.vms.begin(), sample.vms.end(), [](const VmSample& a, const VmSample& b) { return a.path < b.path; }) ||
      !std::is_sorted(sample.cpus.begin(), sample.cpus.end(), [](const CpuSample& a, const CpuSample& b) { return a.cpu < b.cpu; })) {
    return spare::Error{"it is damaged"};
  }
  return sample;
}

}  // namespace sparectl::top
