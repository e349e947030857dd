// SPDX-License-Identifier: GPL-2.0-only
#include "guest_taps.hpp"

#include <algorithm>

namespace spare_qemu {

using spare::Link;

bool GuestTaps::hear(const Link& link) {
  if (link.gone) {
    taps_.erase(link.index);
    return false;
  }
  const bool anew = !taps_.contains(link.index);
  Tap& tap = taps_[link.index];
  const Whose before = tap.whose;
  if (named_.contains(link.name)) {
    tap.whose = Whose::guests;
  } else if (tap.whose == Whose::others && link.carrier && !tap.carrier) {
    tap.whose = Whose::unknown;
  }
  tap.name = link.name;
  tap.carrier = link.carrier;
  tap.bound = false;
  return tap.whose == Whose::unknown && (anew || before != Whose::unknown);
}

bool GuestTaps::replace(const std::vector<Link>& links) {
  std::erase_if(taps_, [&](const auto& each) {
    return std::none_of(links.begin(), links.end(), [&](const Link& link) { return link.index == each.first; });
  });
  bool unknown = false;
  for (const Link& link : links) {
    unknown = hear(link) || unknown;
  }
  return unknown;
}

bool GuestTaps::unknown() const {
  return std::any_of(taps_.begin(), taps_.end(), [](const auto& each) { return each.second.whose == Whose::unknown; });
}

void GuestTaps::opened(const std::set<int>& indexes) {
  for (auto& [index, tap] : taps_) {
    if (indexes.contains(index)) {
      tap.whose = Whose::guests;
    }
  }
}

void GuestTaps::give_up() {
  for (auto& [index, tap] : taps_) {
    if (tap.whose == Whose::unknown) {
      tap.whose = Whose::others;
    }
  }
}

std::set<std::string> GuestTaps::to_bind() const {
  std::set<std::string> names;
  for (const auto& [index, tap] : taps_) {
    if (tap.whose == Whose::guests && !tap.bound) {
      names.insert(tap.name);
    }
  }
  return names;
}

void GuestTaps::bound(const std::set<std::string>& names) {
  for (auto& [index, tap] : taps_) {
    tap.bound = tap.bound || names.contains(tap.name);
  }
}

}  // namespace spare_qemu
