// SPDX-License-Identifier: GPL-2.0-only
//
// /etc/sched_spare/spared.toml, as spared.toml(5) documents it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "cpu_list.hpp"
#include "duration.hpp"
#include "endpoint.hpp"
#include "util/result.hpp"

namespace spare {

inline constexpr const char* config_path = "/etc/sched_spare/spared.toml";
inline constexpr const char* pools_dir = "/pool";  // cgroup above every pool

inline constexpr std::size_t guard_passes_most = 16;

// Spare reservations of one shape that many VMs share (SPARE-5).
struct PoolConfig {
  std::string name;
  Reservation spare;         // (Qs, Ps) of each
  unsigned size = 1;         // spares on each CPU
  std::optional<Cpus> cpus;  // nothing: every CPU that is online
  std::vector<std::string> members;
  std::string policy;  // "grant_us=2000 payback=1", as spare.policy takes it; empty: the members keep theirs

  [[nodiscard]] std::string path() const { return std::string(pools_dir) + "/" + name; }
};

// What spared tells Prometheus, and how.
struct MetricsConfig {
  std::optional<Endpoint> listen;  // nothing: on none
  std::string group;               // may connect to a Unix socket; empty: root alone
  std::string textfile;            // for node_exporter; empty: none
  std::uint64_t interval_us = 15000000;  // between two of it
};

struct Config {
  std::vector<PoolConfig> pools;
  bool place = true;                // write spare.cpus where it is empty
  std::optional<unsigned> servers;  // for each VM; nothing: one per vCPU
  bool meter = false;               // keep the bill in the kernel
  MetricsConfig metrics;
  std::vector<std::uint32_t> guard_passes;  // what no limit of network work drops: protocol << 16 | port (guard.bpf.c)
};

// A mistake is "NAME:LINE: what is wrong".
Result<Config> parse_config(std::string_view text, const std::string& name);
// ENOENT: there is none.
Result<Config> read_config(const std::filesystem::path& path);

// The pool whose members pattern is the first to match the cgroup; null: none does.
const PoolConfig* pool_of(const Config& config, const std::string& cgroup);

}  // namespace spare
