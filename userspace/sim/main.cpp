// SPDX-License-Identifier: GPL-2.0-only
//
// spare-simulate: runs the system that a JSON file describes and prints what became of it, as JSON.
//
//   { "cpus": 1, "seed": 1, "warmup_s": 0, "length_s": 60, "limit_ppm": 900000,
//     "switch_us": 7, "packet_us": 0,                        what the host costs (sim/system.hpp)
//     "pools": [ { "reservation": "4ms/10ms", "size": 2 } ],
//     "vms": [ { "reservation": "40ms/100ms", "count": 8,    so many alike; VM i of the file has number i in "packets"
//                "cpus": [0], "spread": false,               spread: the next VM one CPU further
//                "pool": 0, "burns": true, "net_us": 20, "vcpu_us": 0, "start_us": 0,
//                "policy": { "grant_us": 2000, "chances": 0, "window_us": 1000000, "gain_us": 0, "payback": 0, "wait": 1, "hasten":
//                1 }, "traffic": { "poisson_hz": 10, "burst": 1, "on_s": 0, "off_s": 0, "on_hz": 0, "broadcast_us": 0 } } ],
//     "packets": "file"                                      recorded: time_us,vm
//   }
#include <fmt/format.h>
#include <sys/resource.h>

#include <chrono>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>

#include "arrivals.hpp"
#include "cli/options.hpp"
#include "sched_spare/abi.h"
#include "simulate.hpp"

namespace {

using nlohmann::json;
using nlohmann::ordered_json;
using namespace spare::sim;

// A mistake in the file; ends the program in main().
struct Mistake {
  std::string text;
};

// An object of which every key must be asked for.
class Object {
 public:
  Object(const json& value, std::string where) : value_(value), where_(std::move(where)) {
    if (!value.is_object()) {
      throw Mistake{where_ + ": must be an object"};
    }
  }
  template <typename T>
  T get(const char* key, T otherwise) {
    seen_.emplace_back(key);
    const auto at = value_.find(key);
    if (at == value_.end()) {
      return otherwise;
    }
    try {
      return at->get<T>();
    } catch (const json::exception&) {
      throw Mistake{fmt::format("{}: '{}' has the wrong type: {}", where_, key, at->dump())};
    }
  }
  Time time(const char* key, double unit_ns, Time otherwise) {
    const double value = get<double>(key, static_cast<double>(otherwise) / unit_ns);
    if (!(value >= 0 && value * unit_ns < 1e15)) {
      throw Mistake{fmt::format("{}: '{}' is out of range", where_, key)};
    }
    return static_cast<Time>(value * unit_ns + 0.5);
  }
  spare::Reservation reservation() {
    const auto text = get<std::string>("reservation", "");
    const auto parsed = spare::parse_reservation(text);
    if (!parsed || !*parsed) {
      throw Mistake{where_ + ": " + (parsed ? "a reservation is needed" : parsed.error().text)};
    }
    return **parsed;
  }
  // Call last.
  void done() const {
    for (const auto& [key, value] : value_.items()) {
      if (std::find(seen_.begin(), seen_.end(), key) == seen_.end()) {
        throw Mistake{fmt::format("{}: '{}' is not known", where_, key)};
      }
    }
  }

 private:
  const json& value_;
  std::string where_;
  std::vector<std::string> seen_;
};

Policy read_policy(const json& value, const std::string& where) {
  Object object(value, where);
  Policy policy;
  policy.grant_ns = object.time("grant_us", 1e3, policy.grant_ns);
  policy.chances = object.get<std::uint32_t>("chances", 0);
  policy.window_ns = object.time("window_us", 1e3, policy.window_ns);
  policy.gain_ns = object.time("gain_us", 1e3, 0);
  policy.payback = object.get<int>("payback", 0) != 0;
  policy.wait = object.get<int>("wait", 1) != 0;
  policy.hasten = object.get<int>("hasten", 1) != 0;
  object.done();
  return policy;
}

Traffic read_traffic(const json& value, const std::string& where) {
  Object object(value, where);
  Traffic traffic;
  traffic.poisson_hz = object.get<double>("poisson_hz", 0);
  traffic.burst = object.get<unsigned>("burst", 1);
  traffic.on_s = object.get<double>("on_s", 0);
  traffic.off_s = object.get<double>("off_s", 0);
  traffic.on_hz = object.get<double>("on_hz", 0);
  traffic.broadcast_ns = object.time("broadcast_us", 1e3, 0);
  object.done();
  return traffic;
}

void read_vms(System& system, const json& value, const std::string& where) {
  Object object(value, where);
  Vm vm;
  vm.reservation = object.reservation();
  vm.cpus = object.get<std::vector<unsigned>>("cpus", {0});
  vm.pool = object.get<int>("pool", -1);
  vm.burns = object.get<bool>("burns", true);
  vm.net_ns = object.time("net_us", 1e3, vm.net_ns);
  vm.vcpu_ns = object.time("vcpu_us", 1e3, 0);
  vm.start_ns = object.time("start_us", 1e3, 0);
  vm.policy = read_policy(object.get<json>("policy", json::object()), where + ".policy");
  vm.traffic = read_traffic(object.get<json>("traffic", json::object()), where + ".traffic");
  const auto count = object.get<unsigned>("count", 1);
  const bool spread = object.get<bool>("spread", false);
  object.done();
  for (unsigned i = 0; i < count; i++) {
    system.vms.push_back(vm);
    for (unsigned& cpu : system.vms.back().cpus) {
      cpu = spread ? (cpu + i) % system.cpus : cpu;
    }
  }
}

System read_system(const json& value, std::uint32_t& limit_ppm) {
  Object object(value, "the file");
  System system;
  system.cpus = object.get<unsigned>("cpus", 1);
  system.seed = object.get<std::uint64_t>("seed", 1);
  system.warmup_ns = object.time("warmup_s", 1e9, 0);
  system.length_ns = object.time("length_s", 1e9, second);
  system.host.switch_ns = object.time("switch_us", 1e3, system.host.switch_ns);
  system.host.packet_ns = object.time("packet_us", 1e3, system.host.packet_ns);
  limit_ppm = object.get<std::uint32_t>("limit_ppm", 900000);
  if (system.cpus == 0 || system.cpus > 1000000) {
    throw Mistake{"cpus: 1 to 1000000"};
  }
  for (const auto& pool : object.get<std::vector<json>>("pools", {})) {
    Object one(pool, fmt::format("pools[{}]", system.pools.size()));
    system.pools.push_back({one.reservation(), one.get<unsigned>("size", 1)});
    one.done();
  }
  std::size_t n = 0;
  for (const auto& vm : object.get<std::vector<json>>("vms", {})) {
    read_vms(system, vm, fmt::format("vms[{}]", n++));
  }
  const auto packets = object.get<std::string>("packets", "");
  object.done();
  if (!packets.empty()) {
    auto recorded = read_recorded(packets, system.vms.size());
    if (!recorded) {
      throw Mistake{recorded.error().text};
    }
    for (std::size_t i = 0; i < system.vms.size(); i++) {
      system.vms[i].traffic.recorded = std::make_shared<const std::vector<Time>>(std::move((*recorded)[i]));
    }
  }
  if (const auto checked = check(system, limit_ppm); !checked) {
    throw Mistake{checked.error().text};
  }
  return system;
}

ordered_json use_json(const Use& use) {
  return {{"used_ns", use.used_ns},
          {"boost_ns", use.boost_ns},
          {"lent_ns", use.lent_ns},
          {"periods", use.periods},
          {"use_max_ns", use.use_max_ns},
          {"misses", use.misses},
          {"overrun_max_ns", use.overrun_max_ns},
          {"asked", use.asked},
          {"granted", use.granted},
          {"blocked", use.blocked},
          {"denied", use.denied},
          {"expired", use.expired},
          {"hastened", use.hastened},
          {"held_ns", use.held_ns},
          {"waited_ns", use.waited_ns}};
}

ordered_json latency_json(const Histogram& latency) {
  return {{"n", latency.count()},
          {"mean_ns", static_cast<std::uint64_t>(latency.mean_ns())},
          {"p50_ns", latency.percentile(0.5)},
          {"p90_ns", latency.percentile(0.9)},
          {"p99_ns", latency.percentile(0.99)},
          {"max_ns", latency.max_ns()}};
}

ordered_json result_json(const System& system, const Result& result, bool every_vm) {
  static constexpr const char* found_names[found_kinds] = {"own", "free", "busy"};
  Use total;
  Histogram latency;
  std::uint64_t packets = 0, seen = 0, dropped = 0;
  ordered_json vms = ordered_json::array(), pools = ordered_json::array();
  for (const VmResult& vm : result.vms) {
    total.add(vm.use);
    packets += vm.packets;
    seen += vm.seen;
    dropped += vm.dropped;
    if (every_vm) {
      ordered_json one = use_json(vm.use);
      one.update({{"packets", vm.packets}, {"seen", vm.seen}, {"dropped", vm.dropped}, {"latency", latency_json(vm.latency)}});
      vms.push_back(std::move(one));
    }
  }
  for (const Use& pool : result.pools) {
    pools.push_back(use_json(pool));
  }
  ordered_json all = {{"cpus", system.cpus}, {"vms", system.vms.size()}, {"events", result.events},  {"packets", packets},
                      {"seen", seen},        {"dropped", dropped},       {"total", use_json(total)}, {"pools", std::move(pools)}};
  for (unsigned i = 0; i < found_kinds; i++) {
    all[found_names[i]] = latency_json(result.latency[i]);
    latency.add(result.latency[i]);
  }
  all["all"] = latency_json(latency);
  if (every_vm) {
    all["vm"] = std::move(vms);
  }
  return all;
}

}  // namespace

int main(int argc, char** argv) {
  cli::App app{
      "Simulates servers, pools and packets by the scheduling class's own rules; the file's form is described at the head of "
      "userspace/sim/main.cpp."};
  std::string path;
  unsigned threads = 1;
  bool every_vm = false, speed = false;
  app.add_option("FILE", path, "JSON file, - for standard input")->required();
  app.add_option("--threads", threads, "CPUs to use; the result does not depend on it")
      ->check(cli::Range(1, 1024))
      ->capture_default_str();
  app.add_flag("--every-vm", every_vm, "the result of each VM too");
  app.add_flag("--speed", speed, "how long it took and how much memory");
  if (const auto status = app.parse(argc, argv)) {
    return *status;
  }
  try {
    std::ifstream file(path);
    const json value = json::parse(path == "-" ? std::cin : static_cast<std::istream&>(file), nullptr, false, true);
    if (value.is_discarded()) {
      throw Mistake{path + ": cannot be read, or is not JSON"};
    }
    std::uint32_t limit_ppm = 0;
    const System system = read_system(value, limit_ppm);
    const auto begun = std::chrono::steady_clock::now();
    const Result result = simulate(system, {threads, nullptr});
    const double took = std::chrono::duration<double>(std::chrono::steady_clock::now() - begun).count();
    ordered_json all = result_json(system, result, every_vm);
    if (speed) {
      rusage usage{};
      getrusage(RUSAGE_SELF, &usage);
      all["wall_s"] = took;
      all["events_per_s"] = static_cast<double>(result.events) / took;
      all["max_rss_kib"] = usage.ru_maxrss;
    }
    fmt::print("{}\n", all.dump(1));
  } catch (const Mistake& mistake) {
    fmt::print(stderr, "spare-simulate: {}\n", mistake.text);
    return 1;
  }
  return 0;
}
