// SPDX-License-Identifier: GPL-2.0-only
#include "vm_json.hpp"

#include <algorithm>
#include <iterator>

#include "util/files.hpp"

namespace sparectl {
namespace {

using json = nlohmann::ordered_json;

json value_json(const std::string& text) {
  const auto number = spare::as_integer(text);
  return number ? json(*number) : json(text);
}

json keyed_json(const spare::FlatKeyed& keyed) {
  json object = json::object();
  for (const auto& [key, values] : keyed.entries()) {
    if (values.size() == 1) {
      object[key] = value_json(values[0]);
      continue;
    }
    json array = json::array();
    for (const std::string& value : values) {
      array.push_back(value_json(value));
    }
    object[key] = std::move(array);
  }
  return object;
}

json policy_json(const std::string& policy) {
  json object = json::object();
  for (const std::string& pair : spare::split(policy, " \n")) {
    const size_t equals = pair.find('=');
    object[pair.substr(0, equals)] = equals == std::string::npos ? json() : value_json(pair.substr(equals + 1));
  }
  return object;
}

}  // namespace

json vm_json(const spare::Vm& vm) {
  std::vector<std::string> use, netdev;
  std::transform(vm.use.begin(), vm.use.end(), std::back_inserter(use), spare::printable);
  std::transform(vm.netdev.begin(), vm.netdev.end(), std::back_inserter(netdev), spare::printable);
  return {{"cgroup", spare::printable(vm.path)},
          {"reservation_us", vm.reservation ? json{vm.reservation->runtime_us, vm.reservation->period_us} : json()},
          {"cpus", vm.cpus},
          {"provide", vm.provider},
          {"use", use},
          {"netdev", netdev},
          {"policy", policy_json(vm.policy)},
          {"stat", keyed_json(vm.stat)},
          {"events", keyed_json(vm.events)}};
}

json pool_json(const spare::Pool& pool) {
  std::vector<std::string> providers;
  std::transform(pool.providers.begin(), pool.providers.end(), std::back_inserter(providers), spare::printable);
  return {{"pool", spare::printable(pool.path)}, {"reservation", pool.reservation}, {"providers", providers}, {"servers", pool.servers},
          {"free", pool.free},       {"lent_ns", pool.lent_ns},         {"members", pool.members},     {"granted", pool.granted},
          {"blocked", pool.blocked}, {"denied", pool.denied}};
}

}  // namespace sparectl
