// SPDX-License-Identifier: GPL-2.0-only
#include "class_loader.hpp"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <fcntl.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <functional>
#include <iterator>
#include <memory>

#include "bpf_log.hpp"
#include "bpffs.hpp"
#include "class_state.hpp"
#include "costs.hpp"
#include "kfuncs_txt.hpp"
#include "pinned_class.hpp"
#include "sched_spare/abi.h"
#include "util/files.hpp"

// The skeleton names the types of the class's globals as the kernel does.
using u8 = __u8;
using u16 = __u16;
using u32 = __u32;
using u64 = __u64;
using s32 = __s32;
using s64 = __s64;
#include "sched_spare.skel.h"

namespace spare {
namespace {

using Skeleton = std::unique_ptr<sched_spare_bpf, void (*)(sched_spare_bpf*)>;
using Link = std::unique_ptr<bpf_link, int (*)(bpf_link*)>;

Error abi_error() {
  return {fmt::format("the class was refused: it speaks ABI {}, the loaded module another one (dmesg names both); build both "
                      "from the same sources and reload the module", own_abi()), EPROTO};
}

Error attach_error(const Roots& roots, int code, const BpfLog& log) {
  const ClassState state = read_class_state(roots);
  switch (code) {
    case EBUSY:
      if (state.enabled()) {
        return {"another sched_ext scheduler runs: " + state.ops + "; stop it first", code};
      }
      return {"the kernel refuses another scheduler now (busy): an earlier one is still ending, or the deadline bandwidth "
              "of the host is used up; see dmesg" + log.tail(), code};
    case EINVAL:
      return {"the kernel refuses the class; booted with isolcpus=domain, sched_ext cannot be used; see dmesg" + log.tail(),
              code};
    default:
      return errno_error("the kernel refuses the class (see dmesg)" + log.tail(), code);
  }
}

std::string_view pin_name_of(const bpf_map* map) {
  const std::string_view name = bpf_map__name(map);
  for (const char* global : pin::globals) {
    if (name.ends_with(std::string(".") + global)) {
      return global;
    }
  }
  return {};
}

ClassGlobals globals_of(sched_spare_bpf* skeleton) {
  std::vector<Fd> maps;
  const bpf_map* map = nullptr;
  bpf_object__for_each_map(map, skeleton->obj) {
    if (!pin_name_of(map).empty()) {
      maps.emplace_back(::fcntl(bpf_map__fd(map), F_DUPFD_CLOEXEC, 0));
    }
  }
  return ClassGlobals(std::move(maps));
}

// sched_ext reports what goes wrong while it enables a class as the end of the class: attaching succeeds, the class is gone.
Result<void> confirm_enabled(const Roots& roots, sched_spare_bpf* skeleton) {
  if (read_class_state(roots).ours()) {
    return {};
  }
  const ExitInfo ended = globals_of(skeleton).exit_info();
  if (ended.message.find(fmt::format("({})", -EPROTO)) != std::string::npos) {
    return abi_error();
  }
  // Until it is enabled the fair class's deadline server keeps its bandwidth beside sched_ext's (kernel/sched/ext: dl_server_attach_bw).
  if (ended.message.find(fmt::format("scx_root_enable() failed ({})", -EBUSY)) != std::string::npos) {
    return Error{"the kernel refuses the class: SCHED_DEADLINE threads leave no bandwidth for its deadline server, which wants 5 % of each CPU beside the "
                 "fair class's 5 %, or kernel.sched_rt_runtime_us is small; end or shrink one of them (ps -eLo cls,lwp,comm | grep '^ *DLN', sugov aside)", EBUSY};
  }
  return Error{fmt::format("the class ended as soon as it was attached: {}; dmesg may say more", ended.text())};
}

// Pins the maps with the globals, then the link: where there is a link, there is everything.
Result<void> pin_class(const Roots& roots, sched_spare_bpf* skeleton, bpf_link* link) {
  const auto dir = PinnedClass::directory(roots);
  std::error_code failed;
  PinnedClass::remove_pins(dir);
  std::filesystem::create_directory(dir, failed);
  if (failed) {
    return errno_error("cannot make " + dir.string(), failed.value());
  }
  const bpf_map* map = nullptr;
  bpf_object__for_each_map(map, skeleton->obj) {
    const std::string_view name = pin_name_of(map);
    if (!name.empty() && bpf_obj_pin(bpf_map__fd(map), (dir / name).c_str()) != 0) {
      return errno_error("cannot pin " + (dir / name).string());
    }
  }
  if (auto pinned = costs::pin(roots, bpf_map__fd(skeleton->maps.costs)); !pinned) {
    return pinned;
  }
  if (bpf_link__pin(link, (dir / pin::link).c_str()) != 0) {
    return errno_error("cannot pin " + (dir / pin::link).string());
  }
  return {};
}

}  // namespace

Result<std::vector<std::string>> kfuncs_of_class() {
  const BpfLog quiet;
  size_t size = 0;
  const void* bytes = sched_spare_bpf__elf_bytes(&size);
  return kfuncs_of_object(bytes, size);
}

Result<Needs> needs_of_class() {
  const auto called = kfuncs_of_class();
  if (!called) {
    return called.error();
  }
  Needs needs;
  std::copy_if(called->begin(), called->end(), std::back_inserter(needs.of_module),
               [](const std::string& kfunc) { return kfunc.starts_with("spare_"); });
  for (const std::string& line : split(kfuncs_txt, "\n")) {
    if (const auto need = trim(std::string_view(line).substr(0, line.find('#'))); !need.empty()) {
      needs.of_kernel.emplace_back(need);
    }
  }
  return needs;
}

unsigned own_abi() { return SPARE_ABI; }

std::uint64_t own_build() {
  size_t size = 0;
  const auto* bytes = static_cast<const char*>(sched_spare_bpf__elf_bytes(&size));
  return std::hash<std::string_view>()({bytes, size});
}

Result<Loaded> load_class(const Roots& roots, bool replace) {
  if (auto mounted = ensure_bpffs(roots); !mounted) {
    return mounted.error();
  }
  const BpfLog log;
  const Skeleton skeleton(sched_spare_bpf__open(), sched_spare_bpf__destroy);
  if (!skeleton) {
    return errno_error("the class cannot be opened" + log.tail());
  }
  // One entry per CPU that may ever come (cpu_ctx.bpf.h).
  const auto cpus = static_cast<__u32>(libbpf_num_possible_cpus());
  bpf_map__set_max_entries(skeleton->maps.cpus, cpus);
  bpf_map__set_max_entries(skeleton->maps.queue_stock, cpus * SPARE_SLOTS);
  skeleton->rodata->queues_max = cpus * SPARE_SLOTS;
  skeleton->rodata->spare_build = own_build();
  // Siblings that are off may come while the class runs.
  const auto smt = read_file(roots.sys / "devices/system/cpu/smt/control");
  skeleton->rodata->smt_active = !smt || smt->starts_with("on") || *smt == "off\n";
  const auto limit = read_file(roots.module() / "parameters/limit_ppm");
  if (limit) {
    skeleton->rodata->host_share_ppm = 1000000 - std::min(1000000UL, std::strtoul(limit->c_str(), nullptr, 10));
  }
  if (auto shared = costs::reuse(roots, skeleton->maps.costs); !shared) {
    return shared.error();
  }
  if (const int failed = sched_spare_bpf__load(skeleton.get()); failed != 0) {
    return errno_error("the kernel refuses to load the class" + log.tail() + "\n  because", -failed);
  }
  const auto began = std::chrono::steady_clock::now();
  if (replace) {
    if (auto unloaded = PinnedClass::unload(roots); !unloaded) {
      return unloaded.error();
    }
  }
  const auto refused = [&](const Error& why) { return replace ? Error{"the former class is unloaded, VMs are limited by cpu.max alone; " + why.text, why.code} : why; };
  const Link link(bpf_map__attach_struct_ops(skeleton->maps.sched_spare_ops), bpf_link__destroy);
  if (!link) {
    return refused(attach_error(roots, errno, log));
  }
  if (auto enabled = confirm_enabled(roots, skeleton.get()); !enabled) {
    return refused(enabled.error());
  }
  const auto enabled_at = std::chrono::steady_clock::now();
  if (auto pinned = pin_class(roots, skeleton.get(), link.get()); !pinned) {
    return refused(pinned.error());
  }
  return Loaded{verified_instructions(skeleton->obj), enabled_at - began};
}

}  // namespace spare
