// SPDX-License-Identifier: GPL-2.0-only
#pragma once

#include <nlohmann/json.hpp>

#include "pools.hpp"
#include "settings.hpp"

namespace sparectl {

// { cgroup, reservation_us: [Q, P] or null, cpus, provide, use: [...], netdev: [...], net_max_us: [Q, P] or null, policy: {...}, stat: {...},
//   events: {...} }; numbers as numbers, in the units of the files.
nlohmann::ordered_json vm_json(const spare::Vm& vm);
nlohmann::ordered_json pool_json(const spare::Pool& pool);

}  // namespace sparectl
