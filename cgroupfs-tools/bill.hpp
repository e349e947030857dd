// SPDX-License-Identifier: GPL-2.0-only
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>

#include "meter/counters.hpp"
#include "paths.hpp"

namespace sparectl {

// What a cgroup has had on all CPUs since spared's meter found it. Nothing: none is kept, or it does not know the cgroup, or not for this user to see.
std::optional<spare::BillRow> bill_of(const spare::Roots& roots, const std::string& path);

// spared's meter sees what VMs cost, so reservations can pay for it. True also where that is not for this user to see.
bool meter_is_kept(const spare::Roots& roots);
void print_bill(const spare::BillRow& bill);
nlohmann::ordered_json bill_json(const spare::BillRow& bill);

}  // namespace sparectl
