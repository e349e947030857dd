// SPDX-License-Identifier: GPL-2.0-only
#include "tap_binder.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <iterator>

#include "tool.hpp"
#include "util/files.hpp"
#include "util/taps.hpp"

namespace spare_qemu {
namespace {

using spare::Link;
using spare::TapEvents;
using std::chrono::milliseconds;

// A tap may be handed to QEMU some time after it was made or opened: so long until the first look after that, and twice as long each time.
constexpr milliseconds first_look{100}, last_look{12800};
constexpr milliseconds retry{2000};    // one that was refused; and where the kernel does not tell of taps
constexpr std::size_t fds_most = 65536;  // looked at in a scan
constexpr std::size_t elsewhere_most = 64;  // of which it is said
constexpr milliseconds rarely{60000};  // of a tap that is handed over later, as it is, the kernel does not tell

}  // namespace

TapBinder::TapBinder(int cgroup_dir, std::string cgroup, const std::vector<std::string>& named, std::function<std::vector<pid_t>()> processes,
                     std::function<void(const std::string&)> complain)
    : cgroup_dir_(cgroup_dir), cgroup_(std::move(cgroup)), processes_(std::move(processes)), complain_(std::move(complain)),
      taps_({named.begin(), named.end()}), pause_(first_look / 2) {
  taps_.replace(TapEvents::all().value_or(std::vector<Link>()));
  bind();
}

// Says when to look again.
milliseconds TapBinder::look() {
  const bool news = hear();
  if (news || clock::now() >= due_) {
    scan(news);
  }
  bind();
  const auto next = refused_.empty() ? due_ : std::min(due_, again_);
  return std::max(std::chrono::ceil<milliseconds>(next - clock::now()), milliseconds{1});
}

// Is there one of which it is not known whose it is?
bool TapBinder::hear() {
  const auto heard = events_.drain();
  if (!heard) {
    const auto all = TapEvents::all();
    return all && taps_.replace(*all);
  }
  bool unknown = false;
  for (const Link& link : *heard) {
    unknown = taps_.hear(link) || unknown;
  }
  return unknown;
}

// What the guest's processes have open of this network namespace, in which alone names can be bound.
std::set<int> TapBinder::open_now() {
  std::set<int> indexes;
  const auto here = spare::own_netns();
  std::size_t left = fds_most;
  for (const pid_t process : processes_()) {
    for (const spare::Tap& tap : spare::taps_of("/proc", process, left).value_or(std::vector<spare::Tap>())) {
      if (tap.netns == here) {
        indexes.insert(static_cast<int>(tap.ifindex));
      } else if (elsewhere_.size() < elsewhere_most && elsewhere_.insert(tap.name).second) {
        complain_("packets on " + spare::printable(tap.name) + " are not seen: it is in another network namespace, and can be bound from there (sparectl set -n)");
      }
    }
  }
  return indexes;
}

void TapBinder::scan(bool news) {
  taps_.opened(open_now());
  pause_ = news ? first_look : std::min(2 * pause_, 2 * last_look);
  if (pause_ > last_look) {
    taps_.give_up();
  }
  due_ = clock::now() + (taps_.unknown() ? pause_ : events_.fd() >= 0 ? rarely : retry);
}

void TapBinder::bind() {
  const auto wanted = taps_.to_bind();
  std::erase_if(refused_, [&](const std::string& name) { return !wanted.contains(name); });
  if (wanted.empty() || (wanted == refused_ && clock::now() < again_)) {
    return;
  }
  again_ = clock::now() + retry;
  const auto now = bound_now();
  std::set<std::string> all = now;
  all.insert(wanted.begin(), wanted.end());
  if (all == now || write(all)) {
    taps_.bound(wanted);
    refused_.clear();
    return;
  }
  // One that cannot be bound, as it is another's, does not keep the others from it; those that are bound stay so.
  std::set<std::string> good = now;
  for (const std::string& name : wanted) {
    std::set<std::string> more = good;
    more.insert(name);
    const auto done = more == good ? spare::Result<void>() : write(more);
    if (done) {
      good = std::move(more);
      taps_.bound({name});
      refused_.erase(name);
    } else if (refused_.insert(name).second) {
      complain_("packets on " + name + " are not seen, until it can be bound: " + done.error().text);
    }
  }
}

std::set<std::string> TapBinder::bound_now() const {
  const auto text = spare::read_file_at(cgroup_dir_, "spare.netdev");
  const auto names = text ? spare::split(*text, " \n") : std::vector<std::string>();
  std::set<std::string> bound(names.begin(), names.end());
  bound.erase("none");
  return bound;
}

spare::Result<void> TapBinder::write(const std::set<std::string>& names) const {
  auto set = sparectl({"set", cgroup_, "--netdev", fmt::format("{}", fmt::join(names, ","))});
  return set ? spare::Result<void>() : set.error();
}

}  // namespace spare_qemu
