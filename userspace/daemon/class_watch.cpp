// SPDX-License-Identifier: GPL-2.0-only
#include "class_watch.hpp"

#include <spdlog/spdlog.h>
#include <systemd/sd-daemon.h>

#include "class_loader.hpp"
#include "class_state.hpp"
#include "pinned_class.hpp"
#include "probe.hpp"
#include "util/files.hpp"

namespace spare {
namespace {

// A look takes some system calls, and an idle host should stay idle.
constexpr std::chrono::milliseconds interval{5000}, interval_changing{100};

enum class Pinned { none, adopted, other };

// Adopts the class that a former daemon pinned, if it runs and is the one that this daemon would load.
Result<Pinned> adopt(const Roots& roots) {
  const auto pinned = PinnedClass::open(roots);
  if (!pinned) {
    return pinned.error().code == ENOENT ? Result<Pinned>(Pinned::none) : Result<Pinned>(pinned.error());
  }
  const ClassState state = read_class_state(roots);
  if (!state.ours()) {
    const ExitInfo ended = pinned->globals().exit_info();
    spdlog::warn("the class of an earlier daemon has ended{}; loading it anew", ended.kind ? ": " + ended.text() : "");
    if (auto unloaded = PinnedClass::unload(roots); !unloaded) {
      return unloaded.error();
    }
    return Pinned::none;
  }
  if (pinned->globals().build() != own_build()) {
    return Pinned::other;
  }
  spdlog::info("adopted the running class");
  return Pinned::adopted;
}

// LIFE-5: what is missing, each with its remedy, before the kernel refuses with a number.
Result<void> check(const Roots& roots) {
  const auto needs = needs_of_class();
  if (!needs) {
    return needs.error();
  }
  const auto findings = probe(roots, *needs, own_abi());
  for (const Finding& finding : findings) {
    switch (finding.kind) {
      case Finding::Kind::good:
        spdlog::debug("{}", finding.what);
        break;
      case Finding::Kind::note:
        spdlog::warn("{}; {}", finding.what, finding.remedy);
        break;
      case Finding::Kind::missing:
        spdlog::error("{}; {}", finding.what, finding.remedy);
        break;
    }
  }
  return usable(findings) ? Result<void>() : Error{"the class cannot run on this machine as it is"};
}

Result<void> load_or_adopt(const Roots& roots, const std::function<void()>& before_replacing) {
  const auto adopted = adopt(roots);
  if (!adopted) {
    return adopted.error();
  }
  if (*adopted == Pinned::adopted) {
    return {};
  }
  const bool replace = *adopted == Pinned::other;
  if (auto checked = check(roots); !checked) {
    return replace ? Error{checked.error().text + "; the class of another build runs on"} : checked;
  }
  if (replace) {
    before_replacing();
  }
  const auto loaded = load_class(roots, replace);
  if (!loaded) {
    return loaded.error();
  }
  if (replace) {
    spdlog::info("replaced the class of another build; VMs were limited by cpu.max alone for {} ms",
                 std::chrono::ceil<std::chrono::milliseconds>(loaded->without).count());
  }
  spdlog::debug("the class: {} instructions verified", loaded->verified);
  return {};
}

// What is left of a class that has ended would keep the module from unloading.
void drop_pins(const Roots& roots) {
  if (auto unloaded = PinnedClass::unload(roots); !unloaded && unloaded.error().code != ENOENT) {
    spdlog::warn("{}", unloaded.error().text);
  }
}

}  // namespace

Result<void> ClassWatch::start() {
  auto loaded = load_or_adopt(roots_, before_replacing_);
  if (loaded) {
    since_ = Clock::now();
  }
  return loaded;
}

std::optional<int> ClassWatch::look() {
  if (due_) {
    if (Clock::now() >= *due_) {
      retry();
    }
    return std::nullopt;
  }
  const ClassState state = read_class_state(roots_);
  looked_ = Clock::now();
  changing_ = state.changing();
  if (state.ours() || changing_) {
    return std::nullopt;
  }
  return ended();
}

ClassWatch::Clock::time_point ClassWatch::next() const {
  return due_ ? *due_ : looked_ + (changing_ ? interval_changing : interval);
}

// The class has ended under us: says why.
std::optional<int> ClassWatch::ended() {
  const auto pinned = PinnedClass::open(roots_);
  if (!pinned && pinned.error().code == ENOENT) {
    spdlog::info("the class was unloaded; ending");
    return 0;
  }
  if (!pinned) {
    spdlog::error("the class has ended, and why cannot be read: {}", pinned.error().text);
    schedule(Clock::now() - since_);
    return std::nullopt;
  }
  const ExitInfo info = pinned->globals().exit_info();
  drop_pins(roots_);
  if (info.by_operator()) {
    spdlog::info("the class was unloaded ({}); ending", info.text());
    return 0;
  }
  ejections_++;
  spdlog::error("the kernel ejected the class: {}", info.kind ? info.text() : "it left no reason, see dmesg");
  for (const std::string& line : split(info.dump, "\n")) {
    spdlog::info("dump: {}", line);
  }
  schedule(Clock::now() - since_);
  return std::nullopt;
}

void ClassWatch::schedule(std::chrono::nanoseconds ran) {
  const auto wait = backoff_.after_failure(ran);
  due_ = Clock::now() + wait;
  spdlog::warn("loading it again in {} s; until then VMs are with the kernel's scheduler, limited by their cpu.max alone",
               wait.count());
  sd_notify(0, "STATUS=class ejected; VMs are limited by cpu.max");
}

void ClassWatch::retry() {
  due_.reset();
  if (auto loaded = load_or_adopt(roots_, before_replacing_); !loaded) {
    if (loaded.error().text != complaint_) {
      complaint_ = loaded.error().text;
      spdlog::error("cannot load the class again: {}", complaint_);
    }
    schedule({});
    return;
  }
  complaint_.clear();
  since_ = Clock::now();
  spdlog::info("the class runs again");
  sd_notify(0, "STATUS=class enabled");
}

}  // namespace spare
