// SPDX-License-Identifier: GPL-2.0-only
#include "print.hpp"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <nlohmann/json.hpp>

#include "kinds.hpp"
#include "util/files.hpp"

namespace spare {
namespace {

using json = nlohmann::ordered_json;

constexpr std::array<const char*, SPARE_KINDS> kind_titles = {"GUEST", "VCPU", "VHOST", "IOTH", "EMUL", "KTHR", "SIRQ-RX", "SIRQ-TX", "IRQ"};
double percent(std::uint64_t ns, std::uint64_t of) { return of == 0 ? 0 : 100.0 * static_cast<double>(ns) / static_cast<double>(of); }

json as_json(const CostModel& model) {
  json shown = json::object();
  for (const CostModel::Model& of : model.models()) {
    if (!of.fit) {
      continue;
    }
    json one = {{"error", nullptr}, {"distinct", of.fit->distinct}};
    if (const auto error = of.error()) {
      one["error"] = *error;
    }
    for (std::size_t i = 0; i < of.fit->each.size(); i++) {
      one[std::string(amount_names[i]) + "_ns"] = of.fit->each[i];
    }
    shown[of.name] = std::move(one);
  }
  if (const auto weight = model.weight()) {
    shown["packets"]["weight"] = *weight;
  }
  return shown;
}

}  // namespace

std::string as_table(const Bill& bill) {
  std::string text;
  auto out = std::back_inserter(text);
  const auto seconds = static_cast<std::time_t>(bill.time_ns / 1000000000);
  fmt::format_to(out, "{:%F %T}  {:.3f} s\n", fmt::localtime(seconds), static_cast<double>(bill.interval_ns) / 1e9);
  fmt::format_to(out, "{:<24} {:>7} {:>7} {:>7} {:>7} {:>7} {:>7} {:>7}\n", "CPU", "VMS%", "HOST%", "NET%", "IDLE%", "DEADL%", "RT%", "ERR ppm");
  for (const CpuBill& cpu : bill.cpus) {
    const auto of = [&](std::uint64_t ns) { return percent(ns, cpu.elapsed_ns); };
    const auto& ns = cpu.host.ns;
    fmt::format_to(out, "{:<24} {:7.2f} {:7.2f} {:7.2f} {:7.2f} {:7.2f} {:7.2f} {:7.0f}{}\n", cpu.cpu, of(cpu.vms_ns),
                   of(ns[SPARE_HOST_TASK] + ns[SPARE_HOST_SOFTIRQ] + ns[SPARE_HOST_IRQ]), of(ns[SPARE_HOST_NET]), of(ns[SPARE_HOST_IDLE]),
                   of(ns[SPARE_HOST_DEADLINE]), of(ns[SPARE_HOST_REALTIME]),
                   cpu.elapsed_ns == 0 ? 0 : 1e6 * static_cast<double>(cpu.error_ns()) / static_cast<double>(cpu.elapsed_ns),
                   cpu.steady ? "" : " (read while it changed)");
  }
  fmt::format_to(out, "{:<24} {:>7}", "VM", "USED%");
  for (const char* title : kind_titles) {
    fmt::format_to(out, " {:>7}", title);
  }
  fmt::format_to(out, " {:>7} {:>7}\n", "RXp/s", "TXp/s");
  const auto line = [&](const std::string& name, const BillRow& sum, bool gone) {
    const auto per_second = [&](std::uint64_t n) { return bill.interval_ns == 0 ? 0 : 1e9 * static_cast<double>(n) / static_cast<double>(bill.interval_ns); };
    fmt::format_to(out, "{:<24} {:7.2f}", name, percent(total(sum), bill.interval_ns));
    for (const auto ns : sum.ns) {
      fmt::format_to(out, " {:7.2f}", percent(ns, bill.interval_ns));
    }
    fmt::format_to(out, " {:7.0f} {:7.0f}{}\n", per_second(sum.packets[0]), per_second(sum.packets[1]), gone ? " (gone)" : "");
  };
  for (const VmBill& vm : bill.vms) {
    line(vm.vm.name, vm.sum, vm.vm.gone);
  }
  if (total(bill.gone) > 0) {
    line("others, that have ended", bill.gone, true);
  }
  return text;
}

std::string as_json(const Bill& bill, const std::vector<MissingPart>& missing, const CostModel* model) {
  json line = {{"epoch", bill.epoch}, {"time_ns", bill.time_ns}, {"interval_ns", bill.interval_ns}, {"cpus", json::array()}, {"vms", json::array()}, {"gone_ns", total(bill.gone)}, {"missing", json::array()}};
  for (const CpuBill& cpu : bill.cpus) {
    json host = json::object();
    for (size_t kind = 0; kind < host_kind_names.size(); kind++) {
      host[host_kind_names[kind]] = cpu.host.ns[kind];
    }
    line["cpus"].push_back({{"cpu", cpu.cpu}, {"elapsed_ns", cpu.elapsed_ns}, {"vms_ns", cpu.vms_ns}, {"host_ns", std::move(host)},
                            {"error_ns", cpu.error_ns()}, {"steady", cpu.steady}});
  }
  for (const VmBill& vm : bill.vms) {
    json ns = json::object(), of_cpu = json::object(), processes = json::array(), taps = json::array();
    for (size_t kind = 0; kind < kind_names.size(); kind++) {
      ns[kind_names[kind]] = vm.sum.ns[kind];
    }
    for (size_t i = 0; i < vm.of_cpu_ns.size(); i++) {
      of_cpu[std::to_string(bill.cpus[i].cpu)] = vm.of_cpu_ns[i];
    }
    for (const VmProcess& process : vm.vm.processes) {
      processes.push_back(process.pid);
    }
    for (const Tap& tap : vm.vm.taps) {
      taps.push_back(printable(tap.name));
    }
    line["vms"].push_back({{"name", vm.vm.name}, {"cgroup", printable(vm.vm.cgroup)}, {"whole_cgroup", vm.vm.whole_cgroup()}, {"id", vm.vm.id}, {"processes", std::move(processes)},
                           {"taps", std::move(taps)}, {"gone", vm.vm.gone}, {"ns", std::move(ns)}, {"cpu_ns", std::move(of_cpu)},
                           {"rx_packets", vm.sum.packets[0]}, {"tx_packets", vm.sum.packets[1]}, {"softirqs", vm.sum.batches[0]}, {"vhost_runs", vm.sum.batches[1]}});
  }
  for (const MissingPart& part : missing) {
    line["missing"].push_back({{"point", part.point}, {"why", part.why}, {"part", part.part}});
  }
  if (model != nullptr) {
    line["model"] = as_json(*model);
  }
  return line.dump(-1, ' ', false, json::error_handler_t::replace) + "\n";
}

}  // namespace spare
