// SPDX-License-Identifier: GPL-2.0-only
#include "vm_json.hpp"

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

json names_json(const std::vector<std::string>& names) {
  json array = json::array();
  for (const std::string& name : names) {
    array.push_back(spare::printable(name));
  }
  return array;
}

}  // namespace

json vm_json(const spare::Vm& vm) {
  return {{"cgroup", spare::printable(vm.path)},
          {"reservation_us", vm.reservation ? json{vm.reservation->runtime_us, vm.reservation->period_us} : json()},
          {"cpus", vm.cpus},
          {"provide", vm.provider},
          {"use", names_json(vm.use)},
          {"netdev", names_json(vm.netdev)},
          {"net_max_us", vm.net_max ? json{vm.net_max->runtime_us, vm.net_max->period_us} : json()},
          {"policy", policy_json(vm.policy)},
          {"stat", keyed_json(vm.stat)},
          {"events", keyed_json(vm.events)}};
}

json pool_json(const spare::Pool& pool) {
  return {{"pool", spare::printable(pool.path)}, {"reservation", pool.reservation}, {"providers", names_json(pool.providers)}, {"servers", pool.servers},
          {"free", pool.free},       {"lent_ns", pool.lent_ns},         {"members", pool.members},     {"granted", pool.granted},
          {"blocked", pool.blocked}, {"denied", pool.denied}};
}

}  // namespace sparectl
