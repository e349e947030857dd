// SPDX-License-Identifier: GPL-2.0-only
#include "proc.hpp"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <string_view>
#include <vector>

#define SPARE_METER_READER
#include "sched_spare/meter.h"
#include "util/files.hpp"
#include "util/procfs.hpp"

namespace spare {
namespace {

constexpr std::size_t name_limit = 128;  // of what a tenant may write there, in characters
constexpr std::size_t cmdline_limit = 65536;  // the kernel has none, and shows memory that the process need not have touched

}  // namespace

std::string cgroup_of(const Roots& roots, pid_t process) {
  const auto text = read_file(roots.proc / std::to_string(process) / "cgroup");
  for (const std::string& line : text ? split(*text, "\n") : std::vector<std::string>()) {
    if (line.starts_with("0::")) {
      return line.substr(3);
    }
  }
  return {};
}

std::string vm_cgroup(const std::string& mount, std::string cgroup) {
  for (size_t at = 0; (at = cgroup.find("/machine-", at)) != std::string::npos; at++) {
    const size_t end = std::min(cgroup.find('/', at + 1), cgroup.size());
    if (std::string_view(cgroup).substr(at, end - at).ends_with(".scope")) {
      return cgroup.substr(0, end);
    }
  }
  while (cgroup.size() > 1) {
    const auto type = read_file(mount + cgroup + "/cgroup.type");
    if (!type || trim(*type) != "threaded") {
      break;
    }
    cgroup.resize(std::max<size_t>(cgroup.rfind('/'), 1));
  }
  const auto name = std::string_view(cgroup).substr(cgroup.rfind('/') + 1);
  if (name.empty() || (name.starts_with("session-") && name.ends_with(".scope"))) {
    return {};
  }
  return cgroup;
}

bool is_too_deep(const std::string& cgroup) { return std::count(cgroup.begin(), cgroup.end(), '/') >= SPARE_METER_LEVELS; }

std::uint64_t start_of(const Roots& roots, pid_t process) {
  constexpr size_t start_field = 19;  // after the name, which may have anything in it
  const auto text = read_file(roots.proc / std::to_string(process) / "stat");
  const size_t name_end = text ? text->rfind(')') : std::string::npos;
  const auto fields = name_end == std::string::npos ? std::vector<std::string>() : split(text->substr(name_end + 1), " ");
  return fields.size() > start_field ? std::strtoull(fields[start_field].c_str(), nullptr, 10) : 0;
}

std::string guest_name(const Roots& roots, pid_t process) {
  constexpr std::array<std::string_view, 3> options = {"-name", "--name", "--id"};
  const auto text = read_file(roots.proc / std::to_string(process) / "cmdline", cmdline_limit);
  const auto words = text ? split(*text, std::string_view("\0", 1)) : std::vector<std::string>();
  for (size_t i = 0; i + 1 < words.size(); i++) {
    if (std::find(options.begin(), options.end(), words[i]) != options.end()) {
      return printable(guest_of_option(words[i + 1]), name_limit);
    }
  }
  return {};
}

}  // namespace spare
