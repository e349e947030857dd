// SPDX-License-Identifier: GPL-2.0-only
//
// Loss models of a pool (SPARE-5): k providers, a claim that finds none free is lost.
#pragma once

#include <optional>

#include "duration.hpp"

namespace spare::sim {

// Blocking probability of k servers under `load` erlangs of Poisson arrivals (Erlang, 1917), by the recursion
// B(0) = 1, B(k) = A B(k-1) / (k + A B(k-1)): stable for any load. load >= 0.
double erlang_b(unsigned k, double load);

// The same for n sources, each of which asks at `alpha` / (mean time held) while it holds nothing (Engset, 1918): the share of
// calls that are lost. 0 when there are no more sources than servers.
double engset(unsigned k, unsigned sources, double alpha);

// Least k with B(k, load) <= target; nothing above `most`.
std::optional<unsigned> erlang_b_servers(double load, double target, unsigned most);

// Mean time that a mark holds a provider, an estimate: until its grant is used (ceil(grant / Qs) periods of the provider; less
// when the last one has budget to spare, more when switches eat into it) or until the VM's own budget is back. A packet that finds the budget of a busy VM spent comes at a moment that is uniform in
// the P - Q that it waits; E min(R, G) for R uniform in (0, P - Q). Microseconds.
double hold_us(const Reservation& vm, const Reservation& spare, double grant_us);

// Claims per second of one busy VM that gets `rate` bursts of packets a second: those that find its budget spent.
double claims_hz(const Reservation& vm, double rate_hz);

// Supply bound function of a periodic resource (Shin and Lee, RTSS 2003): the least CPU time that a hard reservation (Q, P)
// gives in any window of length t, all in the same unit.
std::uint64_t supply_bound(std::uint64_t runtime, std::uint64_t period, std::uint64_t t);
// The least t with supply_bound(t) >= demand; demand > 0.
std::uint64_t supply_delay(std::uint64_t runtime, std::uint64_t period, std::uint64_t demand);

}  // namespace spare::sim
