// SPDX-License-Identifier: GPL-2.0-only
#include "config.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <fnmatch.h>
#include <netinet/in.h>

#include <algorithm>
#include <initializer_list>
#include <toml++/toml.hpp>

#include "sched_spare/parse.h"
#include "util/files.hpp"

namespace spare {
namespace {

constexpr size_t name_length_max = 64;
constexpr std::string_view name_characters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-";

// A key of spare.policy and its range, as the kernel has them.
struct PolicyKey {
  const char* name;
  std::int64_t least, most;
};
constexpr PolicyKey policy_numbers[] = {{"grant_us", SPARE_GRANT_MIN_US, SPARE_GRANT_MAX_US},
                                        {"chances", 0, SPARE_CHANCES_MAX},
                                        {"window_us", SPARE_WINDOW_MIN_US, SPARE_WINDOW_MAX_US},
                                        {"gain_us", 0, SPARE_WINDOW_MAX_US},
                                        {"interval_us", SPARE_INTERVAL_MIN_US, SPARE_INTERVAL_MAX_US}};
constexpr const char* policy_flags[] = {"payback", "wait", "hasten"};

// Takes values out of tables. The first mistake counts; after it, values are defaults.
class Reader {
 public:
  explicit Reader(std::string file) : file_(std::move(file)) {}

  [[nodiscard]] const std::optional<Error>& error() const { return error_; }

  void fail(const toml::node& at, const std::string& what) {
    if (!error_) {
      error_ = Error{fmt::format("{}:{}: {}", file_, at.source().begin.line, what), EINVAL};
    }
  }

  void only_keys(const toml::table& table, const std::vector<std::string_view>& known) {
    for (const auto& [key, node] : table) {
      if (std::find(known.begin(), known.end(), key.str()) == known.end()) {
        fail(node, fmt::format("unknown key '{}'; known here: {}", key.str(), fmt::join(known, ", ")));
      }
    }
  }

  std::optional<std::string> text(const toml::table& table, const char* key) {
    return value<std::string>(table, key, "a string");
  }
  std::optional<bool> flag(const toml::table& table, const char* key) { return value<bool>(table, key, "true or false"); }
  std::optional<std::int64_t> number(const toml::table& table, const char* key, std::int64_t least, std::int64_t most) {
    const auto got = value<std::int64_t>(table, key, "a whole number");
    if (got && (*got < least || *got > most)) {
      fail(*table.get(key), fmt::format("{} must lie between {} and {}", key, least, most));
      return std::nullopt;
    }
    return got;
  }

 private:
  template <typename T>
  std::optional<T> value(const toml::table& table, const char* key, const char* form) {
    const toml::node* node = table.get(key);
    if (node == nullptr) {
      return std::nullopt;
    }
    auto got = node->value_exact<T>();
    if (!got) {
      fail(*node, fmt::format("{} must be {}", key, form));
    }
    return got;
  }

  std::string file_;
  std::optional<Error> error_;
};

std::string read_name(Reader& reader, const toml::table& table) {
  const auto name = reader.text(table, "name");
  if (!name) {
    reader.fail(table, "a pool needs a name");
    return {};
  }
  if (name->empty() || name->size() > name_length_max || name->find_first_not_of(name_characters) != std::string::npos) {
    reader.fail(*table.get("name"), fmt::format("'{}' is no name of a pool: letters, digits, _ and -, at most {}", *name, name_length_max));
  }
  return *name;
}

Reservation read_spare(Reader& reader, const toml::table& table) {
  const auto text = reader.text(table, "reservation");
  if (!text) {
    reader.fail(table, "a pool needs a reservation, that of each spare, as \"4ms/10ms\"");
    return {};
  }
  const auto parsed = parse_reservation(*text);
  if (!parsed || !*parsed) {
    reader.fail(*table.get("reservation"), parsed ? "a spare needs a reservation, as \"4ms/10ms\"" : parsed.error().text);
    return {};
  }
  return **parsed;
}

std::optional<Cpus> read_cpus(Reader& reader, const toml::table& table) {
  const auto text = reader.text(table, "cpus");
  if (!text || *text == "all") {
    return std::nullopt;
  }
  const auto parsed = parse_cpu_list(*text);
  if (!parsed || parsed->empty()) {
    reader.fail(*table.get("cpus"), parsed ? "no CPU: give a list, as \"0-2,5\", or \"all\"" : parsed.error().text);
    return std::nullopt;
  }
  return *parsed;
}

std::vector<std::string> read_members(Reader& reader, const toml::table& table) {
  std::vector<std::string> members;
  const toml::node* node = table.get("members");
  if (node == nullptr) {
    return members;
  }
  const toml::array* array = node->as_array();
  if (array == nullptr) {
    reader.fail(*node, "members must be a list of patterns, as [\"/vm/*\"]");
    return members;
  }
  for (const toml::node& each : *array) {
    const auto pattern = each.value_exact<std::string>();
    if (!pattern || !pattern->starts_with("/")) {
      reader.fail(each, "a member is a pattern for cgroup paths from the root of the hierarchy, as \"/vm/*\"");
      return members;
    }
    members.push_back(*pattern);
  }
  return members;
}

std::string read_policy(Reader& reader, const toml::table& pool) {
  const toml::node* node = pool.get("policy");
  if (node == nullptr) {
    return {};
  }
  const toml::table* table = node->as_table();
  if (table == nullptr) {
    reader.fail(*node, "policy must be a table, as { grant_us = 2000, payback = true }");
    return {};
  }
  reader.only_keys(*table, {"grant_us", "chances", "window_us", "gain_us", "payback", "wait", "hasten", "charge", "interval_us"});
  std::vector<std::string> words;
  for (const PolicyKey& key : policy_numbers) {
    if (const auto number = reader.number(*table, key.name, key.least, key.most)) {
      words.push_back(fmt::format("{}={}", key.name, *number));
    }
  }
  const auto window = table->get_as<std::int64_t>("window_us"), gain = table->get_as<std::int64_t>("gain_us");
  if (gain != nullptr && gain->get() > (window != nullptr ? window->get() : spare_policy SPARE_POLICY_DEFAULT.window_us)) {
    reader.fail(*gain, "gain_us must not exceed window_us");
  }
  for (const char* name : policy_flags) {
    if (const auto flag = reader.flag(*table, name)) {
      words.push_back(fmt::format("{}={}", name, *flag ? 1 : 0));
    }
  }
  if (const auto charge = reader.text(*table, "charge")) {
    if (*charge != "debt" && *charge != "none") {
      reader.fail(*table->get("charge"), "charge is \"debt\" or \"none\"");
    }
    words.push_back("charge=" + *charge);
  }
  return fmt::format("{}", fmt::join(words, " "));
}

PoolConfig read_pool(Reader& reader, const toml::table& table) {
  reader.only_keys(table, {"name", "reservation", "size", "cpus", "members", "policy"});
  PoolConfig pool;
  pool.name = read_name(reader, table);
  pool.spare = read_spare(reader, table);
  pool.size = static_cast<unsigned>(reader.number(table, "size", 1, SPARE_USE_MAX).value_or(1));
  pool.cpus = read_cpus(reader, table);
  pool.members = read_members(reader, table);
  pool.policy = read_policy(reader, table);
  return pool;
}

void read_pools(Reader& reader, const toml::table& root, Config& config) {
  const toml::node* node = root.get("pool");
  if (node == nullptr) {
    return;
  }
  const toml::array* pools = node->as_array();
  if (pools == nullptr) {
    reader.fail(*node, "write each pool as [[pool]]");
    return;
  }
  for (const toml::node& each : *pools) {
    if (!each.is_table()) {
      reader.fail(each, "write each pool as [[pool]]");
      return;
    }
    PoolConfig pool = read_pool(reader, *each.as_table());
    const auto same = [&](const PoolConfig& other) { return other.name == pool.name; };
    if (std::any_of(config.pools.begin(), config.pools.end(), same)) {
      reader.fail(each, fmt::format("there is a pool '{}' already", pool.name));
    }
    config.pools.push_back(std::move(pool));
  }
}

void read_placement(Reader& reader, const toml::table& root, Config& config) {
  const toml::node* node = root.get("placement");
  if (node == nullptr) {
    return;
  }
  const toml::table* table = node->as_table();
  if (table == nullptr) {
    reader.fail(*node, "write [placement]");
    return;
  }
  reader.only_keys(*table, {"enabled", "servers"});
  config.place = reader.flag(*table, "enabled").value_or(true);
  const toml::node* servers = table->get("servers");
  if (servers == nullptr || servers->value_exact<std::string>() == "vcpus") {
    return;
  }
  if (!servers->is_integer()) {
    reader.fail(*servers, "servers must be \"vcpus\" or a whole number");
    return;
  }
  if (const auto number = reader.number(*table, "servers", 1, SPARE_CPUS_MAX)) {
    config.servers = static_cast<unsigned>(*number);
  }
}

void read_meter(Reader& reader, const toml::table& root, Config& config) {
  const toml::node* node = root.get("meter");
  if (node == nullptr) {
    return;
  }
  const toml::table* table = node->as_table();
  if (table == nullptr) {
    reader.fail(*node, "write [meter]");
    return;
  }
  reader.only_keys(*table, {"enabled"});
  config.meter = reader.flag(*table, "enabled").value_or(false);
}

// "tcp/22", "udp/53", "icmp", "icmpv6" as guard.bpf.c has it; nothing: none of them.
std::optional<std::uint32_t> pass_of(const std::string& text) {
  constexpr std::pair<const char*, std::uint32_t> protocols[] = {{"icmp", IPPROTO_ICMP}, {"tcp", IPPROTO_TCP}, {"udp", IPPROTO_UDP}, {"icmpv6", IPPROTO_ICMPV6}};
  const auto slash = text.find('/');
  for (const auto& [name, number] : protocols) {
    if (text.substr(0, slash) != name) {
      continue;
    }
    const bool has_ports = number == IPPROTO_TCP || number == IPPROTO_UDP;
    const auto port = slash == std::string::npos ? std::nullopt : as_integer(text.substr(slash + 1));
    if (slash == std::string::npos || (has_ports && port && *port >= 1 && *port <= 65535)) {
      return number << 16 | static_cast<std::uint32_t>(port.value_or(0));
    }
  }
  return std::nullopt;
}

void read_guard(Reader& reader, const toml::table& root, Config& config) {
  const toml::node* node = root.get("guard");
  if (node == nullptr) {
    return;
  }
  const toml::table* table = node->as_table();
  if (table == nullptr) {
    reader.fail(*node, "write [guard]");
    return;
  }
  reader.only_keys(*table, {"pass"});
  const toml::node* pass = table->get("pass");
  if (pass == nullptr) {
    return;
  }
  const toml::array* list = pass->as_array();
  if (list == nullptr || list->size() > guard_passes_most) {
    reader.fail(*pass, fmt::format("pass must be a list of at most {}, as [\"tcp/22\", \"icmp\"]", guard_passes_most));
    return;
  }
  for (const toml::node& each : *list) {
    const auto text = each.value_exact<std::string>();
    const auto rule = text ? pass_of(*text) : std::nullopt;
    if (!rule) {
      reader.fail(each, "pass names protocols, and ports of tcp and udp: \"tcp/22\", \"udp/53\", \"icmp\", \"icmpv6\"");
      return;
    }
    config.guard_passes.push_back(*rule);
  }
}

constexpr std::uint64_t interval_least_us = 1000000, interval_most_us = 300000000;  // Prometheus takes what is older than 5 minutes for gone

std::uint64_t read_interval(Reader& reader, const toml::table& table, std::uint64_t otherwise) {
  const auto text = reader.text(table, "interval");
  const auto parsed = text ? parse_duration_us(*text) : Result<std::uint64_t>(otherwise);
  if (!parsed || *parsed < interval_least_us || *parsed > interval_most_us) {
    reader.fail(*table.get("interval"), parsed ? "interval must lie between 1s and 300s" : parsed.error().text);
    return otherwise;
  }
  return *parsed;
}

void read_metrics(Reader& reader, const toml::table& root, MetricsConfig& metrics) {
  const toml::node* node = root.get("metrics");
  if (node == nullptr) {
    return;
  }
  const toml::table* table = node->as_table();
  if (table == nullptr) {
    reader.fail(*node, "write [metrics]");
    return;
  }
  reader.only_keys(*table, {"listen", "group", "textfile", "interval"});
  if (const auto text = reader.text(*table, "listen")) {
    const auto endpoint = parse_endpoint(*text);
    if (!endpoint) {
      reader.fail(*table->get("listen"), endpoint.error().text);
      return;
    }
    metrics.listen = *endpoint;
  }
  metrics.group = reader.text(*table, "group").value_or("");
  if (table->contains("group") && (!metrics.listen || metrics.listen->path.empty() || metrics.group.empty())) {
    reader.fail(*table->get("group"), "group names who may connect to the Unix socket that listen names; anybody on the host may connect to a port");
  }
  metrics.textfile = reader.text(*table, "textfile").value_or("");
  if (table->contains("textfile") && (!metrics.textfile.starts_with("/") || !metrics.textfile.ends_with(".prom"))) {
    reader.fail(*table->get("textfile"), "textfile must be an absolute path that ends in .prom: node_exporter reads no others");
  }
  metrics.interval_us = read_interval(reader, *table, metrics.interval_us);
}

}  // namespace

Result<Config> parse_config(std::string_view text, const std::string& name) {
  toml::table root;
  try {
    root = toml::parse(text);
  } catch (const toml::parse_error& mistake) {
    return Error{fmt::format("{}:{}: {}", name, mistake.source().begin.line, mistake.description()), EINVAL};
  }
  Reader reader(name);
  Config config;
  reader.only_keys(root, {"pool", "placement", "meter", "guard", "metrics"});
  read_placement(reader, root, config);
  read_meter(reader, root, config);
  read_guard(reader, root, config);
  read_pools(reader, root, config);
  read_metrics(reader, root, config.metrics);
  if (reader.error()) {
    return *reader.error();
  }
  return config;
}

Result<Config> read_config(const std::filesystem::path& path) {
  const auto text = read_file(path);
  if (!text) {
    return text.error();
  }
  return parse_config(*text, path.string());
}

const PoolConfig* pool_of(const Config& config, const std::string& cgroup) {
  for (const PoolConfig& pool : config.pools) {
    for (const std::string& pattern : pool.members) {
      // A backslash is no escape: systemd writes it into the names of scopes.
      if (::fnmatch(pattern.c_str(), cgroup.c_str(), FNM_PATHNAME | FNM_NOESCAPE) == 0) {
        return &pool;
      }
    }
  }
  return nullptr;
}

}  // namespace spare
