// SPDX-License-Identifier: GPL-2.0-only
#include "payers.hpp"

#include <bpf/bpf.h>

#include <cerrno>
#include <set>
#include <vector>

#include "kinds.hpp"

namespace spare {

Payers::Payers(int payers, int costs) : payers_(payers), costs_(costs) {
  for (std::uint32_t slot = 0; slot < SPARE_METER_VMS; slot++) {
    std::uint64_t id = 0;
    if (bpf_map_lookup_elem(payers_, &slot, &id) == 0 && id != 0) {
      known_[slot] = id;
    }
  }
}

void Payers::write(std::uint32_t slot, std::uint64_t id) {
  bpf_map_update_elem(payers_, &slot, &id, BPF_ANY);
  if (id != 0) {
    known_[slot] = id;
  } else {
    known_.erase(slot);
  }
}

bool Payers::make_entry(std::uint64_t id) const {
  const std::uint64_t none = 0;
  return bpf_map_update_elem(costs_, &id, &none, BPF_NOEXIST) == 0 || errno == EEXIST;
}

// Forgets who is not wanted.
void Payers::make_room(const std::map<std::uint32_t, std::uint64_t>& wanted) const {
  std::set<std::uint64_t> kept;
  for (const auto& [slot, id] : wanted) {
    kept.insert(id);
  }
  std::vector<std::uint64_t> strange;
  std::uint64_t id = 0;
  for (bool more = bpf_map_get_next_key(costs_, nullptr, &id) == 0; more; more = bpf_map_get_next_key(costs_, &id, &id) == 0) {
    if (!kept.contains(id)) {
      strange.push_back(id);
    }
  }
  for (const std::uint64_t one : strange) {
    bpf_map_delete_elem(costs_, &one);
  }
}

bool Payers::set(const std::map<std::uint32_t, std::uint64_t>& wanted) {
  bool all = true;
  for (const auto& [slot, id] : std::map(known_)) {
    if (!wanted.contains(slot)) {
      write(slot, 0);
    }
  }
  for (const auto& [slot, id] : wanted) {
    const auto known = known_.find(slot);
    if (known != known_.end() && known->second == id) {
      continue;
    }
    bool there = make_entry(id);
    if (!there) {
      make_room(wanted);
      there = make_entry(id);
    }
    write(slot, there ? id : 0);
    all = all && there;
  }
  return all;
}

}  // namespace spare
