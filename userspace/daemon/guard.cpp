// SPDX-License-Identifier: GPL-2.0-only
#include "guard.hpp"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

#include "bpf_log.hpp"
#include "bpffs.hpp"
#include "costs.hpp"
#include "guard.skel.h"
#include "pinned_class.hpp"
#include "util/fd.hpp"
#include "util/files.hpp"

namespace spare {
namespace {

namespace fs = std::filesystem;

fs::path directory(const Roots& roots) { return PinnedClass::directory(roots) / pin::guard; }
constexpr const char* pin_names[] = {"rx", "tx"};
fs::path pin_of(const Roots& roots, unsigned tap, const char* name) { return directory(roots) / fmt::format("{}_{}", tap, name); }

using Skeleton = std::unique_ptr<guard_bpf, decltype(&guard_bpf__destroy)>;
using TcxLink = std::unique_ptr<bpf_link, decltype(&bpf_link__destroy)>;

}  // namespace

struct TapGuard::Programs {
  Skeleton skeleton{nullptr, guard_bpf__destroy};
  std::vector<std::uint32_t> passes;
};

TapGuard::TapGuard(const Roots& roots) : roots_(roots) {}
TapGuard::~TapGuard() = default;

Result<void> TapGuard::load(const std::vector<std::uint32_t>& passes) {
  const BpfLog log;
  auto fresh = std::make_unique<Programs>();
  fresh->passes = passes;
  fresh->skeleton.reset(guard_bpf__open());
  if (!fresh->skeleton) {
    return errno_error("the guard's programs cannot be opened" + log.tail());
  }
  std::copy_n(passes.begin(), std::min(passes.size(), std::size(fresh->skeleton->rodata->passes)), fresh->skeleton->rodata->passes);
  if (auto shared = costs::reuse(roots_, fresh->skeleton->maps.costs); !shared) {
    return shared;
  }
  if (const int refused = guard_bpf__load(fresh->skeleton.get()); refused != 0) {
    return errno_error("the kernel refuses the guard's programs" + log.tail() + "\n  because", -refused);
  }
  programs_ = std::move(fresh);
  return {};
}

// Both programs are at this tap, by their pins.
bool TapGuard::is_at(unsigned tap) const {
  for (const char* name : pin_names) {
    const Fd link(bpf_obj_get(pin_of(roots_, tap, name).c_str()));
    bpf_link_info info{};
    __u32 size = sizeof(info);
    if (!link || bpf_link_get_info_by_fd(link.get(), &info, &size) != 0 || info.type != BPF_LINK_TYPE_TCX || info.tcx.ifindex != tap) {
      return false;
    }
  }
  return true;
}

// What is there stays until its successor is.
Result<void> TapGuard::go_to(unsigned tap) const {
  std::error_code failed;
  fs::create_directories(directory(roots_), failed);
  for (const auto& [program, name] : {std::pair{programs_->skeleton->progs.spare_guard_rx, pin_names[0]}, {programs_->skeleton->progs.spare_guard_tx, pin_names[1]}}) {
    const TcxLink attached(bpf_program__attach_tcx(program, static_cast<int>(tap), nullptr), bpf_link__destroy);
    const fs::path fresh = pin_of(roots_, tap, name).string() + "_new";
    fs::remove(fresh, failed);
    if (!attached || bpf_link__pin(attached.get(), fresh.c_str()) != 0) {
      return errno_error(fmt::format("the guard's program at device {}", tap));
    }
    fs::rename(fresh, pin_of(roots_, tap, name), failed);  // the former one goes now
    if (failed) {
      return errno_error("cannot replace " + pin_of(roots_, tap, name).string(), failed.value());
    }
  }
  return {};
}

Result<void> TapGuard::set(const std::set<unsigned>& taps, const std::vector<std::uint32_t>& passes) {
  std::error_code failed;
  if (programs_ && (programs_->passes != passes || !costs::is_shared(roots_, bpf_map__fd(programs_->skeleton->maps.costs)))) {
    programs_.reset();
  }
  Result<void> outcome;
  if (!taps.empty() && !programs_) {
    if (auto mounted = ensure_bpffs(roots_); !mounted) {
      return mounted;
    }
    if (auto loaded = load(passes); !loaded) {  // what is there goes on
      return loaded;
    }
    ours_.clear();
  }
  for (const unsigned tap : taps) {
    if (ours_.contains(tap) && is_at(tap)) {
      continue;
    }
    ours_.erase(tap);
    if (auto there = go_to(tap); there) {
      ours_.insert(tap);
    } else {
      outcome = there;
    }
  }
  for (fs::directory_iterator entry(directory(roots_), failed), end; !failed && entry != end; entry.increment(failed)) {
    const auto tap = as_integer(entry->path().filename().string().substr(0, entry->path().filename().string().find('_')));
    if (!tap || !taps.contains(static_cast<unsigned>(*tap))) {
      std::error_code gone;
      fs::remove(entry->path(), gone);
    }
  }
  if (taps.empty()) {
    programs_.reset();
    ours_.clear();
    fs::remove(directory(roots_), failed);
  }
  return outcome;
}

Result<void> unpin_guard(const Roots& roots) {
  std::error_code failed;
  fs::remove_all(directory(roots), failed);
  std::error_code used;
  fs::remove(directory(roots).parent_path(), used);  // unless the class or the meter is there
  return failed ? Result<void>(errno_error("cannot remove " + directory(roots).string(), failed.value())) : Result<void>();
}

}  // namespace spare
