// SPDX-License-Identifier: GPL-2.0-only
#include "table.hpp"

#include <cstdio>
#include <fstream>
#include <nlohmann/json.hpp>

#include "kinds.hpp"
#include "util/files.hpp"

namespace spare {
namespace {

using json = nlohmann::ordered_json;

constexpr int version = 1;

// JSON has no text that is no UTF-8, and a cgroup's name may have any bytes in it.
json as_json(const std::string& name) { return printable(name) == name ? json(name) : json(std::vector<unsigned char>(name.begin(), name.end())); }

std::string name_from(const json& from) {
  const auto bytes = from.is_array() ? from.get<std::vector<unsigned char>>() : std::vector<unsigned char>();
  return from.is_array() ? std::string(bytes.begin(), bytes.end()) : from.get<std::string>();
}

json as_json(const TableVm& entry) {
  const BilledVm& vm = entry.vm;
  json processes = json::array(), taps = json::array();
  for (const VmProcess& process : vm.processes) {
    processes.push_back({{"pid", process.pid}, {"start", process.start}});
  }
  for (const Tap& tap : vm.taps) {
    taps.push_back({{"name", as_json(tap.name)}, {"ifindex", tap.ifindex}, {"netns", tap.netns}, {"napi", tap.napi}});
  }
  return {{"slot", vm.slot},   {"id", vm.id},           {"name", vm.name},  {"cgroup", as_json(vm.cgroup)},
          {"cgroup_id", vm.cgroup_id}, {"named", entry.named}, {"gone", vm.gone}, {"processes", std::move(processes)}, {"taps", std::move(taps)}};
}

TableVm vm_from(const json& from) {
  TableVm entry;
  BilledVm& vm = entry.vm;
  vm.slot = from.at("slot");
  vm.id = from.at("id");
  vm.name = from.at("name");
  vm.cgroup = name_from(from.at("cgroup"));
  vm.cgroup_id = from.at("cgroup_id");
  vm.gone = from.at("gone");
  entry.named = from.at("named");
  for (const json& process : from.at("processes")) {
    vm.processes.push_back({process.at("pid"), process.at("start")});
  }
  for (const json& tap : from.at("taps")) {
    vm.taps.push_back({name_from(tap.at("name")), tap.at("ifindex"), tap.at("netns"), tap.at("napi")});
  }
  return entry;
}

}  // namespace

std::string MeterTable::as_text() const {
  json text = {{"version", version}, {"epoch", epoch}, {"generation", generation}, {"next_id", next_id}, {"vms", json::array()}, {"missing", json::array()}};
  for (const TableVm& vm : vms) {
    text["vms"].push_back(as_json(vm));
  }
  for (const MissingPart& part : missing) {
    text["missing"].push_back({{"point", part.point}, {"why", part.why}, {"part", part.part}});
  }
  return text.dump(-1, ' ', false, json::error_handler_t::replace) + "\n";
}

Result<MeterTable> MeterTable::parse(std::string_view text) {
  MeterTable table;
  try {
    const json from = json::parse(text);
    if (from.at("version") != version) {
      return Error{"the meter's table of VMs is of another version", EPROTO};
    }
    table.epoch = from.at("epoch");
    table.generation = from.at("generation");
    table.next_id = from.at("next_id");
    for (const json& vm : from.at("vms")) {
      table.vms.push_back(vm_from(vm));
      if (const auto slot = table.vms.back().vm.slot; slot == 0 || slot >= SPARE_METER_GONE) {
        return Error{"the meter's table of VMs has a slot that there is not", EINVAL};
      }
    }
    for (const json& part : from.at("missing")) {
      table.missing.push_back({part.at("point"), part.at("why"), part.at("part")});
    }
  } catch (const json::exception& mistake) {
    return Error{std::string("the meter's table of VMs: ") + mistake.what(), EINVAL};
  }
  return table;
}

Result<void> MeterTable::write(const std::filesystem::path& file) const {
  const std::string fresh = file.string() + ".new";
  {
    std::ofstream out(fresh, std::ios::trunc);
    out << as_text();
    if (!out.flush()) {
      return errno_error("cannot write " + fresh);
    }
  }
  return std::rename(fresh.c_str(), file.c_str()) == 0 ? Result<void>() : errno_error("cannot write " + file.string());
}

Result<MeterTable> MeterTable::read(const std::filesystem::path& file) {
  const auto text = read_file(file);
  if (!text) {
    return text.error();
  }
  auto table = parse(*text);
  return table ? table : Result<MeterTable>(table.error().while_doing(file.string()));
}

}  // namespace spare
