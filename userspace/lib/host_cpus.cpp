// SPDX-License-Identifier: GPL-2.0-only
#include "host_cpus.hpp"

#include <fmt/format.h>

#include <charconv>
#include <map>

#include "util/files.hpp"

namespace spare {
namespace {

namespace fs = std::filesystem;

std::map<unsigned, unsigned> node_of_cpu(const Roots& roots) {
  std::map<unsigned, unsigned> nodes;
  std::error_code failed;
  for (fs::directory_iterator entry(roots.sys / "devices/system/node", failed), end; !failed && entry != end; entry.increment(failed)) {
    const std::string name = entry->path().filename();
    unsigned node = 0;
    const char* last = name.data() + name.size();
    if (!name.starts_with("node") || std::from_chars(name.data() + 4, last, node).ptr != last || name.size() == 4) {
      continue;
    }
    const auto text = read_file(entry->path() / "cpulist");
    const auto cpus = text ? parse_cpu_list(*text) : Result<Cpus>(text.error());
    for (const unsigned cpu : cpus ? *cpus : Cpus()) {
      nodes[cpu] = node;
    }
  }
  return nodes;
}

unsigned core_of(const fs::path& cpus, unsigned cpu) {
  const auto text = read_file(cpus / fmt::format("cpu{}/topology/thread_siblings_list", cpu));
  const auto siblings = text ? parse_cpu_list(*text) : Result<Cpus>(text.error());
  return siblings && !siblings->empty() ? siblings->front() : cpu;
}

}  // namespace

Result<Cpus> online_cpus(const Roots& roots) {
  const auto text = read_file(roots.sys / "devices/system/cpu/online");
  return text ? parse_cpu_list(*text) : Result<Cpus>(text.error());
}

Result<std::vector<HostCpu>> read_host_cpus(const Roots& roots) {
  const fs::path dir = roots.sys / "devices/system/cpu";
  const auto online = online_cpus(roots);
  if (!online) {
    return online.error();
  }
  const auto nodes = node_of_cpu(roots);
  std::vector<HostCpu> cpus;
  for (const unsigned cpu : *online) {
    const auto node = nodes.find(cpu);
    cpus.push_back({cpu, core_of(dir, cpu), node == nodes.end() ? 0 : node->second});
  }
  return cpus;
}

Cpus ids_of(const std::vector<HostCpu>& cpus) {
  Cpus ids;
  for (const HostCpu& cpu : cpus) {
    ids.push_back(cpu.id);
  }
  return ids;
}

}  // namespace spare
