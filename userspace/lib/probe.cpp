// SPDX-License-Identifier: GPL-2.0-only
#include "probe.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdint>
#include <utility>

#include "class_state.hpp"
#include "mounts.hpp"
#include "util/files.hpp"

namespace spare {
namespace {

constexpr const char* abi_remedy = "build module and spared from the same sources, then reload the module: spared --stop && rmmod sched_spare && "
                                   "modprobe sched_spare";

using Findings = std::vector<Finding>;
using Kind = Finding::Kind;

// Numbers of linux/capability.h.
constexpr std::array<std::pair<int, const char*>, 4> capabilities_needed = {
    {{21, "CAP_SYS_ADMIN"}, {23, "CAP_SYS_NICE"}, {38, "CAP_PERFMON"}, {39, "CAP_BPF"}}};

void probe_sched_ext(const Roots& roots, Findings& findings) {
  const ClassState state = read_class_state(roots);
  if (!state.present) {
    findings.push_back({Kind::missing, "the kernel has no sched_ext",
                        "boot a kernel built with CONFIG_SCHED_CLASS_EXT (Debian 13 has them in trixie-backports)"});
  } else if (!state.ops.empty() && state.ops != class_name) {
    findings.push_back({Kind::missing, fmt::format("another sched_ext scheduler runs: {}", state.ops),
                        "stop it; the kernel runs one at a time"});
  } else {
    findings.push_back({Kind::good, fmt::format("sched_ext: {}", state.state), ""});
  }
}

void probe_module(const Roots& roots, unsigned abi, Findings& findings) {
  const ModuleState module = read_module_state(roots);
  if (!module.loaded) {
    findings.push_back({Kind::missing, "the module sched_spare is not loaded",
                        "modprobe sched_spare, or insmod sched_spare.ko"});
  } else if (module.abi && *module.abi != abi) {
    findings.push_back({Kind::missing, fmt::format("the loaded module speaks ABI {}, spared ABI {}", *module.abi, abi),
                        abi_remedy});
  } else {
    findings.push_back({Kind::good, module.abi ? fmt::format("module sched_spare: ABI {}", abi) : "module sched_spare", ""});
  }
}

// Sorts what cannot be used into missing and broken. remedy: for what is missing.
void probe_needs_in(const KernelBtf& types, const std::vector<std::string>& needs, std::string_view where,
                    std::string_view remedy, Findings& findings) {
  std::vector<std::string> missing, broken;
  for (const std::string& need : needs) {
    switch (types.state(need)) {
      case NeedState::whole:
        break;
      case NeedState::missing:
        missing.push_back(need);
        break;
      case NeedState::broken:
        broken.push_back(need);
        break;
    }
  }
  if (!missing.empty()) {
    findings.push_back(
        {Kind::missing, fmt::format("{} lacks what the class needs: {}", where, fmt::join(missing, " ")), std::string(remedy)});
  }
  if (!broken.empty()) {
    findings.push_back({Kind::missing,
                        fmt::format("the BTF of {} is broken for kfuncs that the class calls: {} (no _impl twin)", where,
                                    fmt::join(broken, " ")),
                        "boot a kernel that was built with pahole (dwarves) 1.31 or newer; 1.30 leaves these twins out"});
  }
  if (missing.empty() && broken.empty()) {
    findings.push_back({Kind::good, fmt::format("{}: has all {} things that the class needs, whole", where, needs.size()), ""});
  }
}

void probe_needs(const Roots& roots, const Needs& needs, Findings& findings) {
  const auto kernel = KernelBtf::open(roots.kernel_btf());
  if (!kernel) {
    findings.push_back({Kind::missing, fmt::format("the kernel's type information cannot be read: {}", kernel.error().text),
                        "boot a kernel built with CONFIG_DEBUG_INFO_BTF"});
    return;
  }
  probe_needs_in(*kernel, needs.of_kernel, "the kernel", "boot a newer kernel; task_group.scx: one built with CONFIG_EXT_GROUP_SCHED",
                 findings);
  if (needs.of_module.empty() || !read_module_state(roots).loaded) {
    return;
  }
  const auto module = KernelBtf::open_module(roots.module_btf(), *kernel);
  if (!module) {
    findings.push_back({Kind::missing, fmt::format("the module has no type information: {}", module.error().text),
                        "build it against headers that bring a vmlinux with BTF, with pahole installed"});
    return;
  }
  probe_needs_in(*module, needs.of_module, "the module", abi_remedy,
                 findings);
}

void probe_cgroups(const Roots& roots, Findings& findings) {
  const auto mount = find_cgroup2(roots);
  if (!mount) {
    findings.push_back({Kind::missing, mount.error().text, "boot with cgroup v2 (systemd's default), or mount it"});
    return;
  }
  const auto controllers = read_file(*mount / "cgroup.controllers");
  const auto present = controllers ? split(*controllers, " \n") : std::vector<std::string>();
  for (const char* needed : {"cpu", "io"}) {
    if (std::find(present.begin(), present.end(), needed) == present.end()) {
      findings.push_back({Kind::missing, fmt::format("cgroup v2 at {} has no {} controller", mount->string(), needed),
                          "it is bound to cgroup v1 or not in the kernel: boot with cgroup_no_v1=all"});
      return;
    }
  }
  findings.push_back({Kind::good, fmt::format("cgroup v2 at {} with cpu and io", mount->string()), ""});
}

void probe_capabilities(const Roots& roots, Findings& findings) {
  const auto status = read_file(roots.proc / "self/status");
  constexpr std::string_view field = "CapEff:";
  const size_t at = status ? status->find(field) : std::string::npos;
  if (at == std::string::npos) {
    return;  // no /proc: others will complain
  }
  const std::string_view hex = trim(std::string_view(*status).substr(at + field.size(), 20));
  std::uint64_t effective = 0;
  std::from_chars(hex.data(), hex.data() + hex.size(), effective, 16);
  std::vector<const char*> lacking;
  for (const auto& [number, name] : capabilities_needed) {
    if ((effective >> number & 1) == 0) {
      lacking.push_back(name);
    }
  }
  if (lacking.empty()) {
    findings.push_back({Kind::good, "capabilities", ""});
  } else {
    findings.push_back({Kind::missing, fmt::format("this process lacks {}", fmt::join(lacking, " ")), "run it as root"});
  }
}

void probe_isolated_cpus(const Roots& roots, Findings& findings) {
  const auto cmdline = read_file(roots.proc / "cmdline");
  if (cmdline && cmdline->find("isolcpus=") != std::string::npos) {
    findings.push_back({Kind::note, "the kernel was booted with isolcpus=, with which it refuses any sched_ext scheduler",
                        "boot without isolcpus=; reservations do its work"});
  }
}

}  // namespace

std::vector<Finding> probe(const Roots& roots, const Needs& needs, unsigned abi) {
  Findings findings;
  probe_sched_ext(roots, findings);
  probe_needs(roots, needs, findings);
  probe_module(roots, abi, findings);
  probe_cgroups(roots, findings);
  probe_capabilities(roots, findings);
  probe_isolated_cpus(roots, findings);
  return findings;
}

bool usable(const std::vector<Finding>& findings) {
  return std::none_of(findings.begin(), findings.end(), [](const Finding& finding) { return finding.kind == Kind::missing; });
}

}  // namespace spare
