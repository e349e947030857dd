// SPDX-License-Identifier: GPL-2.0-only
//
// What is simulated: CPUs, pools of providers, VMs and the packets they get. Plain data; simulate.hpp runs it.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "duration.hpp"
#include "histogram.hpp"

namespace spare::sim {

// Nanoseconds since the simulation began, or of CPU time.
using Time = std::uint64_t;

constexpr Time us = 1000, ms = 1000 * us, second = 1000 * ms;

// Packets for one VM: the union of what is switched on.
struct Traffic {
  double poisson_hz = 0;  // arrivals per second, exponential gaps
  unsigned burst = 1;     // packets per arrival, at the same instant

  double on_s = 0, off_s = 0, on_hz = 0;  // bursts of on and off, exponential with these means; Poisson with on_hz while on

  Time broadcast_ns = 0;  // every VM of the system gets one at k times this: synchronized

  std::shared_ptr<const std::vector<Time>> recorded;  // sorted
};

// What spare.policy says (SPARE-4 .. SPARE-7).
struct Policy {
  Time grant_ns = 2 * ms;
  std::uint32_t chances = 0;
  Time window_ns = second, gain_ns = 0;
  bool payback = false;
  bool wait = true;    // for a provider; else the packet that finds none free is denied (SPARE-5)
  bool hasten = true;  // a packet that finds the deadline far brings a chunk nearer (SPARE-7)
};

// A pool: on each CPU `size` providers with this reservation (SPARE-1).
struct Pool {
  Reservation reservation;
  unsigned size = 0;
};

struct Vm {
  Reservation reservation;
  std::vector<unsigned> cpus;  // a server, and a vCPU, on each; packets come to the first
  int pool = -1;               // index in System::pools; -1: none
  bool burns = true;           // the vCPUs compute all the time; else they sleep until a packet comes
  Time net_ns = 20 * us;       // CPU that the network thread (vhost) spends on a packet
  Time vcpu_ns = 0;            // CPU that the guest spends on it
  Time start_ns = 0;           // the vCPUs begin
  Policy policy;
  Traffic traffic;
};

// What the host costs. The default is measured in the deterministic host, at 2 ns per instruction (E9): a switch from a thread to
// another through the class, and (not counted by default) the way of a packet to the wake-up of its network thread.
struct Host {
  Time switch_ns = 7 * us;  // charged to whoever leaves, as the class does
  Time packet_ns = 0;        // of a real-time thread on the VM's first CPU, at a priority above the class
};

struct System {
  unsigned cpus = 1;
  std::vector<Pool> pools;
  std::vector<Vm> vms;
  Host host;
  Time warmup_ns = 0;  // runs but is not counted
  Time length_ns = second;
  std::uint64_t seed = 1;
};

// What a packet found: pktgen's words.
enum class Found : std::uint8_t { own, free, busy };
constexpr unsigned found_kinds = 3;

// Counters of one VM (summed over its servers) or of one pool (summed over its providers).
struct Use {
  Time used_ns = 0;           // of its own budget
  Time boost_ns = 0;          // VM: borrowed
  Time lent_ns = 0;           // pool: lent
  std::uint64_t periods = 0;  // that ended
  Time use_max_ns = 0;        // most in one period
  std::uint64_t misses = 0;   // deadlines missed
  Time overrun_max_ns = 0;    // most that a budget was overdrawn

  std::uint64_t asked = 0;  // marks that asked the pool
  std::uint64_t granted = 0, blocked = 0, denied = 0, expired = 0, hastened = 0;
  Time held_ns = 0;    // providers claimed, time over all of them
  Time waited_ns = 0;  // by blocked marks until a provider or their own budget came

  void add(const Use& other);
};

struct VmResult {
  Use use;
  std::uint64_t packets = 0, seen = 0, dropped = 0;
  std::uint64_t by_found[found_kinds] = {};
  Histogram latency;  // from a packet's arrival until the vCPU has it
};

// What is summed over the whole system.
struct Totals {
  std::vector<Use> pools;          // as System::pools
  Histogram latency[found_kinds];  // over all VMs, by what the packet found
  std::uint64_t events = 0;        // steps of the simulator

  void add(const Totals& other);
};

struct Result : Totals {
  std::vector<VmResult> vms;  // as System::vms
};

}  // namespace spare::sim
