// SPDX-License-Identifier: GPL-2.0-only
#include "options.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>

#include "cli/options.hpp"
#include "util/files.hpp"
#include "util/procfs.hpp"

namespace spare_qemu {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view own_prefix = "--spare-";
constexpr std::string_view qemu_prefix = "qemu-system-";
constexpr const char* default_qemu = "qemu-system-x86_64";
constexpr int exit_usage = 2;

// First program of that name in PATH that is not this wrapper under another name.
std::string find_qemu(const std::string& name) {
  std::error_code failed;
  const fs::path self = fs::canonical("/proc/self/exe", failed);
  const char* path = std::getenv("PATH");
  for (const std::string& dir : spare::split(path != nullptr ? path : "/usr/bin:/bin", ":")) {
    const fs::path candidate = fs::path(dir) / name;
    const fs::path real = fs::canonical(candidate, failed);
    if (!failed && real != self) {
      return candidate;
    }
  }
  return name;
}

// Options may be written with one or two dashes.
std::string_view without_dashes(std::string_view word) {
  if (!word.starts_with('-')) {
    return {};
  }
  return word.substr(word.starts_with("--") ? 2 : 1);
}

// Values of every -option VALUE.
std::vector<std::string> values_of(const std::vector<std::string>& qemu, std::string_view option) {
  std::vector<std::string> values;
  for (size_t i = 0; i + 1 < qemu.size(); i++) {
    if (without_dashes(qemu[i]) == option) {
      values.push_back(qemu[++i]);
    }
  }
  return values;
}

// What a -netdev, -nic or -device says: "kind,key=value,...", "key=value,..." or, as libvirt writes it, JSON.
class Described {
 public:
  // kind_key: what names the kind, "type" or "driver".
  Described(const std::string& value, const char* kind_key) {
    if (value.starts_with('{')) {
      const auto object = nlohmann::json::parse(value, nullptr, false);
      if (object.is_object()) {  // else QEMU says what is wrong
        for (const auto& [key, each] : object.items()) {
          words_[key] = each.is_string() ? each.get<std::string>() : each.dump();
        }
      }
    } else {
      for (const std::string& part : spare::split(value, ",")) {
        const size_t equals = part.find('=');
        if (equals != std::string::npos) {
          words_[part.substr(0, equals)] = part.substr(equals + 1);
        } else if (value.starts_with(part)) {
          words_[kind_key] = part;
        }
      }
    }
    kind_ = (*this)[kind_key];
  }

  [[nodiscard]] const std::string& kind() const { return kind_; }
  std::string operator[](const std::string& key) const {
    const auto found = words_.find(key);
    return found == words_.end() ? std::string() : found->second;
  }

 private:
  std::map<std::string, std::string> words_;
  std::string kind_;
};

// Splits the command line into the wrapper's words and QEMU's.
void partition(int argc, char** argv, bool drop_in, std::vector<std::string>& own, std::vector<std::string>& qemu) {
  int i = 1;
  for (; i < argc; i++) {
    const std::string_view word = argv[i];
    if (!drop_in && word == "--") {
      i++;
      break;
    }
    if (word.starts_with(own_prefix)) {
      own.emplace_back(word);
      if (word.find('=') == std::string_view::npos && i + 1 < argc) {
        own.emplace_back(argv[++i]);
      }
      continue;
    }
    (drop_in ? qemu : own).emplace_back(word);
  }
  for (; i < argc; i++) {
    qemu.emplace_back(argv[i]);
  }
}

}  // namespace

Parsed parse_options(int argc, char** argv) {
  const std::string called = fs::path(argv[0]).filename();
  const bool drop_in = called.starts_with(qemu_prefix);
  Parsed parsed;
  Options& options = parsed.options;
  std::vector<std::string> own;
  partition(argc, argv, drop_in, own, options.qemu);

  cli::App app{"Runs QEMU in a cgroup of its own with a CPU reservation, and removes the cgroup when QEMU ends. See spare-qemu(1).",
               "spare-qemu"};
  app.usage("spare-qemu --spare-reservation Q/P --spare-cpus LIST [options] -- QEMU-ARGUMENTS\n"
            "qemu-system-ARCH [options] QEMU-ARGUMENTS     (a link to spare-qemu)");
  app.set_version_flag("--version", std::string("spare-qemu ") + SPARE_VERSION);
  app.add_option("--spare-reservation", options.reservation, "runtime/period, as 40ms/100ms")->envname("SPARE_RESERVATION");
  app.add_option("--spare-cpus", options.cpus, "CPUs on which it has it, as 1-2")->envname("SPARE_CPUS");
  app.add_option("--spare-use", options.use, "providers it may borrow from, as /pool/p0,/pool/p1")->envname("SPARE_USE");
  app.add_option("--spare-policy", options.policy, "as grant_us=2000,chances=4")->envname("SPARE_POLICY");
  app.add_option("--spare-net-max", options.net_max, "CPU that its network work may use, as 500us/10ms")->envname("SPARE_NET_MAX");
  app.add_option("--spare-cgroup", options.cgroup, "the cgroup to make; default /vm/ and the guest's -name")->envname("SPARE_CGROUP");
  app.add_option("--spare-binary", options.binary, "the QEMU to run; default: the one in PATH")->envname("SPARE_QEMU_BINARY");
  if (const auto status = app.parse(own)) {
    parsed.exit = *status == 0 ? 0 : exit_usage;
    return parsed;
  }
  if (options.binary.empty()) {
    options.binary = find_qemu(drop_in ? called : default_qemu);
  }
  return parsed;
}

std::string guest_name(const std::vector<std::string>& qemu) {
  const auto values = values_of(qemu, "name");
  return values.empty() ? std::string() : spare::guest_of_option(values.back());
}

std::vector<std::string> tap_names(const std::vector<std::string>& qemu) {
  std::vector<std::string> names;
  for (const char* option : {"netdev", "nic"}) {
    for (const std::string& value : values_of(qemu, option)) {
      const Described network(value, "type");
      if (network.kind() == "tap" && !network["ifname"].empty()) {
        names.push_back(network["ifname"]);
      }
    }
  }
  return names;
}

std::set<std::string> unseen_networks(const std::vector<std::string>& qemu) {
  const auto seen = {"", "tap", "bridge", "none", "hubport", "help"};  // (the bridge helper makes a tap; a hub's port has other ends)
  std::set<std::string> kinds;
  for (const char* option : {"netdev", "nic"}) {
    for (const std::string& value : values_of(qemu, option)) {
      const std::string kind = Described(value, "type").kind();
      if (std::find(seen.begin(), seen.end(), kind) == seen.end()) {
        kinds.insert(kind);
      }
    }
  }
  for (const std::string& value : values_of(qemu, "device")) {
    const std::string kind = Described(value, "driver").kind();
    if (kind.starts_with("vfio-") || kind.starts_with("vhost-vdpa")) {
      kinds.insert(kind);
    }
  }
  return kinds;
}

bool has_flag(const std::vector<std::string>& qemu, const std::string& flag) {
  for (const std::string& word : qemu) {
    if (without_dashes(word) == flag) {
      return true;
    }
  }
  return false;
}

bool only_asks(const std::vector<std::string>& qemu) {
  for (const char* option : {"machine", "M"}) {
    for (const std::string& value : values_of(qemu, option)) {
      if (value == "none" || value.starts_with("none,") || value == "help") {
        return true;
      }
    }
  }
  return has_flag(qemu, "help") || has_flag(qemu, "h") || has_flag(qemu, "version");
}

}  // namespace spare_qemu
