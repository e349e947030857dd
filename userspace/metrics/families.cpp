// SPDX-License-Identifier: GPL-2.0-only
#include "metrics/families.hpp"

#include <prometheus/text_serializer.h>

#include <cstring>
#include <filesystem>
#include <map>
#include <set>
#include <span>
#include <sstream>
#include <string_view>

#include "metrics/fields.hpp"
#include "pools.hpp"
#include "util/files.hpp"

namespace spare {
namespace {

using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;
using Labels = std::vector<ClientMetric::Label>;

constexpr const char* prefix = "sched_spare_";

class Families {
 public:
  // Samples that are added go to this one until the next call.
  void begin(const char* name, MetricType type, const char* help) { all_.push_back({std::string(prefix) + name, help, type, {}}); }

  void add(double value, Labels labels = {}) {
    ClientMetric metric;
    metric.label = std::move(labels);
    (all_.back().type == MetricType::Counter ? metric.counter.value : metric.gauge.value) = value;
    all_.back().metric.push_back(std::move(metric));
  }

  void add(ClientMetric metric) { all_.back().metric.push_back(std::move(metric)); }

  void one(const char* name, MetricType type, const char* help, double value, Labels labels = {}) {
    begin(name, type, help);
    add(value, std::move(labels));
  }

  // Families without a sample are left out.
  std::vector<MetricFamily> take() && {
    std::erase_if(all_, [](const MetricFamily& family) { return family.metric.empty(); });
    return std::move(all_);
  }

 private:
  std::vector<MetricFamily> all_;
};

double number(std::uint64_t value, double unit = 1) { return static_cast<double>(value) * unit; }

// A cgroup and the labels of its series.
struct Labelled {
  const MeasuredVm* of;
  Labels labels;
};

void add_billed(Families& out, const std::vector<Labelled>& vms) {
  for (const Labelled& each : vms) {
    for (const auto& [kind, ns] : each.of->billed_ns) {
      Labels labels = each.labels;
      labels.push_back({"kind", kind});
      out.add(number(ns, nanosecond), std::move(labels));
    }
  }
}

void add_fields(Families& out, std::span<const Field> fields, const std::vector<Labelled>& cgroups) {
  const char* name = "";
  bool of_meter = false;
  for (const Field& field : fields) {
    if (std::strcmp(field.name, name) != 0) {
      name = field.name;
      out.begin(name, field.type, field.help);
      of_meter = name == std::string_view(cpu_seconds_name);
      if (of_meter) {
        add_billed(out, cgroups);
      }
    }
    for (const Labelled& each : cgroups) {
      const auto value = of_meter && !each.of->billed_ns.empty() ? std::nullopt : each.of->vm.stat.number(field.key);
      if (value) {  // a module may have fewer keys, or more
        Labels labels = each.labels;
        if (field.label != nullptr) {
          labels.push_back({field.label, field.value});
        }
        out.add(number(*value, field.unit), std::move(labels));
      }
    }
  }
}

// Buckets in the file count what is in no bucket before.
void add_latencies(Families& out, const std::vector<Labelled>& vms) {
  constexpr std::string_view key_prefix = "lat_us_le_";
  out.begin("vm_first_service_seconds", MetricType::Histogram,
            "Time from a packet that found its server throttled to the first run of who serves it.");
  for (const Labelled& each : vms) {
    ClientMetric metric;
    metric.label = each.labels;
    auto& histogram = metric.histogram;
    for (const auto& [key, values] : each.of->vm.stat.entries()) {
      const auto count = key.starts_with(key_prefix) && values.size() == 1 ? as_integer(values[0]) : std::nullopt;
      if (!count || *count < 0) {
        continue;
      }
      histogram.sample_count += static_cast<std::uint64_t>(*count);
      if (const auto bound = as_integer(key.substr(key_prefix.size()))) {
        histogram.bucket.push_back({histogram.sample_count, static_cast<double>(*bound) * microsecond});
      }
    }
    histogram.sample_sum = number(each.of->vm.stat.number("lat_sum_ns").value_or(0), nanosecond);
    if (!histogram.bucket.empty()) {
      out.add(std::move(metric));
    }
  }
}

void add_reservations(Families& out, const std::vector<Labelled>& vms) {
  out.begin("vm_info", gauge, "1, with what is known of the VM; uuid and libvirt's name where libvirt has it.");
  for (const Labelled& each : vms) {
    const Vm& vm = each.of->vm;
    Labels labels = each.labels;
    labels.insert(labels.end(), {{"cgroup", printable(vm.path)}, {"uuid", each.of->uuid}, {"use", printable(vm.use.empty() ? "" : vm.use.front())}});
    out.add(1, std::move(labels));
  }
  out.begin("vm_reserved_cpus", gauge, "CPUs' worth of time that is reserved: servers times runtime per period.");
  for (const Labelled& each : vms) {
    const double servers = number(each.of->vm.stat.number("nr_servers").value_or(0));
    out.add(each.of->vm.reservation ? servers * each.of->vm.reservation->utilisation() : 0, each.labels);
  }
}

// What is not printable may read as another's name: one scrape with two series alike would be lost whole.
std::string distinct(std::set<std::string>& taken, std::string label, const std::string& path) {
  for (unsigned n = 2; !taken.insert(label).second; n++) {
    label = path + " #" + std::to_string(n);
  }
  return label;
}

void add_pools(Families& out, const std::vector<MeasuredVm>& all) {
  std::vector<Vm> vms;
  for (const MeasuredVm& each : all) {
    vms.push_back(each.vm);
  }
  const auto pools = pools_of(vms);
  const auto each_pool = [&](const char* name, const char* help, std::uint64_t Pool::*what) {
    out.begin(name, gauge, help);
    std::set<std::string> taken;
    for (const Pool& pool : pools) {
      out.add(number(pool.*what), {{"pool", distinct(taken, printable(pool.path), printable(pool.path))}});
    }
  };
  each_pool("pool_servers", "Servers of the pool's providers, on all CPUs together.", &Pool::servers);
  each_pool("pool_free_servers", "Of these, not lent now.", &Pool::free);
  each_pool("pool_members", "Cgroups that may borrow from the pool.", &Pool::members);
}

void add_host(Families& out, const Snapshot& snapshot) {
  const DaemonState& daemon = snapshot.daemon;
  out.one("build_info", gauge, "1, with the versions of spared, of the module and of the class that is loaded.", 1,
          {{"version", SPARE_VERSION}, {"module", printable(snapshot.module.version)}, {"class", snapshot.class_build}});
  out.one("class_enabled", gauge, "1 while the class is the kernel's scheduler; 0: VMs are limited by cpu.max alone.", snapshot.scheduler.ours() ? 1 : 0);
  out.one("class_ejections_total", counter, "Times that the kernel has ended the class since spared was started.", number(daemon.ejections));
  out.one("start_time_seconds", gauge, "When spared was started, since 1970.", daemon.started_s);
  out.one("config_reloads_total", counter, "Times that the configuration was read again.", number(daemon.reloads));
  out.one("config_last_reload_successful", gauge, "1: the configuration was without a mistake when it was last read.", daemon.config_good ? 1 : 0);
  out.one("pass_seconds", gauge, "Time that the last pass over all cgroups has taken.", daemon.pass_s);
  out.one("snapshot_seconds", gauge, "Time that reading the state for these metrics has taken.", snapshot.seconds);
  if (!snapshot.class_build.empty()) {
    out.one("host_overrun_seconds_total", counter, "CPU time that pinned kernel threads took of reservations, beyond the host's share.",
            number(snapshot.host_overrun_ns, nanosecond));
    out.one("host_valve_tasks_total", counter, "Host tasks that had to be let run before their turn.", number(snapshot.host_valve_tasks));
    out.one("host_floor_seconds_total", counter, "CPU time of host tasks before the servers, where real-time threads leave too little.",
            number(snapshot.host_floor_ns, nanosecond));
  }
  out.one("admission_limit_ratio", gauge, "The most that may be reserved of a CPU.", number(snapshot.limit_ppm, ppm));
  out.begin("cpu_reserved_ratio", gauge, "What reservations, providers and SCHED_DEADLINE threads hold of a CPU.");
  for (const auto& [cpu, taken] : snapshot.taken_ppm) {
    out.add(number(taken, ppm), {{"cpu", std::to_string(cpu)}});
  }
}

void add_model(Families& out, const CostModel& model) {
  out.begin("packet_cost_seconds", gauge, "What VMs' packets cost the host by counting them, of each thing that is counted: two models, fitted to the bill.");
  for (const CostModel::Model& of : model.models()) {
    for (std::size_t i = 0; of.fit && i < of.fit->each.size(); i++) {
      out.add(of.fit->each[i] * nanosecond, {{"model", of.name}, {"of", amount_names[i]}});
    }
  }
  out.begin("packet_cost_error_ratio", gauge, "How far the model was off the bill in the last minutes, as a part of it.");
  for (const CostModel::Model& of : model.models()) {
    if (const auto error = of.error()) {
      out.add(*error, {{"model", of.name}});
    }
  }
  out.begin("packet_cost_weight_ratio", gauge, "What a packet that a VM sends costs, of one that it receives.");
  if (const auto weight = model.weight()) {
    out.add(*weight);
  }
}

}  // namespace

std::vector<std::string> vm_labels(const std::vector<MeasuredVm>& vms) {
  std::map<std::string, unsigned> named;
  for (const MeasuredVm& each : vms) {
    named[each.name]++;
  }
  std::set<std::string> taken;
  std::vector<std::string> labels;
  for (const MeasuredVm& each : vms) {
    const std::string path = printable(each.vm.path);
    std::string label = each.name.empty() || named[each.name] > 1 ? path : printable(each.name);
    labels.push_back(distinct(taken, std::move(label), path));
  }
  return labels;
}

std::vector<prometheus::MetricFamily> families_of(const Snapshot& snapshot) {
  std::vector<Labelled> vms, providers;
  const auto labels = vm_labels(snapshot.vms);
  for (size_t i = 0; i < labels.size(); i++) {
    const MeasuredVm& each = snapshot.vms[i];
    if (each.vm.provider) {
      providers.push_back({&each, {{"provider", labels[i]}, {"pool", printable(std::filesystem::path(each.vm.path).parent_path().string())}}});
    } else {
      vms.push_back({&each, {{"vm", labels[i]}}});
    }
  }
  Families out;
  add_host(out, snapshot);
  add_model(out, snapshot.model);
  add_pools(out, snapshot.vms);
  add_fields(out, provider_fields, providers);
  add_reservations(out, vms);
  add_fields(out, vm_fields, vms);
  add_latencies(out, vms);
  return std::move(out).take();
}

std::string as_text(const std::vector<prometheus::MetricFamily>& families) {
  std::ostringstream out;
  prometheus::TextSerializer().Serialize(out, families);
  return std::move(out).str();
}

}  // namespace spare
