// SPDX-License-Identifier: GPL-2.0-only
#include "metrics/machines.hpp"

#include <algorithm>
#include <charconv>

#include "systemd.hpp"
#include "util/files.hpp"

namespace spare {
namespace {

constexpr std::string_view slice = "/machine.slice/", scope_prefix = "machine-", scope_suffix = ".scope", guest_prefix = "qemu-";
constexpr size_t asked_most = 64;
constexpr std::chrono::minutes rest{1};

// systemd.unit(5), String Escaping: "\x2d" is a '-', a '-' a '/'. Empty: malformed.
std::string unescaped(std::string_view text) {
  std::string plain;
  for (size_t at = 0; at < text.size(); at++) {
    if (text[at] != '\\') {
      plain += text[at] == '-' ? '/' : text[at];
      continue;
    }
    unsigned byte = 0;
    const std::string_view digits = text.substr(at).substr(0, 4);
    const auto [end, failed] = std::from_chars(digits.data() + std::min<size_t>(2, digits.size()), digits.data() + digits.size(), byte, 16);
    if (digits.size() != 4 || digits[1] != 'x' || failed != std::errc() || end != digits.data() + digits.size()) {
      return {};
    }
    plain += static_cast<char>(byte);
    at += 3;
  }
  return plain;
}

}  // namespace

std::string machine_scope(const std::string& cgroup) {
  if (!cgroup.starts_with(slice)) {
    return {};
  }
  const auto parts = split(cgroup, "/");
  const auto found = std::find_if(parts.begin(), parts.end(), [](const std::string& part) { return part.ends_with(scope_suffix); });
  return found != parts.end() && found->starts_with(scope_prefix) ? *found : std::string();
}

std::string machine_of_scope(const std::string& scope) {
  if (scope.size() < scope_prefix.size() + scope_suffix.size()) {
    return {};
  }
  return unescaped(std::string_view(scope).substr(scope_prefix.size(), scope.size() - scope_prefix.size() - scope_suffix.size()));
}

std::string guest_of_machine(const std::string& machine) {
  const size_t digits = machine.starts_with(guest_prefix) ? machine.find_first_not_of("0123456789", guest_prefix.size()) : 0;
  return digits > guest_prefix.size() && digits != std::string::npos && machine[digits] == '-' ? machine.substr(digits + 1) : std::string();
}

void Machines::name(std::vector<MeasuredVm>& vms) {
  std::map<std::string, std::string> known;
  std::map<std::string, std::string> unknown;  // machines, by scope
  for (MeasuredVm& each : vms) {
    const std::string scope = machine_scope(each.vm.path);
    const std::string machine = machine_of_scope(scope);
    each.name = guest_of_machine(machine);
    if (each.name.empty()) {
      continue;
    }
    if (const auto found = uuids_.find(scope); found != uuids_.end()) {
      each.uuid = found->second;
      known.insert(*found);
    } else if (unknown.size() < asked_most) {
      unknown[scope] = machine;
    }
  }
  uuids_.swap(known);  // one that has gone may come back as another
  if (unknown.empty() || std::chrono::steady_clock::now() < ask_) {
    return;
  }
  auto answered = machine_uuids(unknown);
  if (answered.size() < unknown.size()) {
    ask_ = std::chrono::steady_clock::now() + rest;  // without machined there are names
  }
  uuids_.merge(answered);
}

}  // namespace spare
