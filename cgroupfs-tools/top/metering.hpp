// SPDX-License-Identifier: GPL-2.0-only
#pragma once

#include "meter/meter.hpp"
#include "top/sample.hpp"

namespace sparectl::top {

// What the meter has read joins the VMs and CPUs of a sample; a VM that only the meter knows comes to them. Pure.
void add_bill(const spare::Reading& reading, Sample& sample);

}  // namespace sparectl::top
