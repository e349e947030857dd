// SPDX-License-Identifier: GPL-2.0-only
//
// What can be seen of a simulation while it runs; tests check rules on it.
#pragma once

#include <sched_spare/abi.h>

#include "system.hpp"

namespace spare::sim {

struct Packet {
  Time arrived;
  Found found;
};

// The class's clock at time 0.
constexpr Time class_begins = second;

// A server: `abi` is the class's own, by the class's clock.
struct Place {
  unsigned cpu, slot;  // of its island
  const spare_server& abi;
  unsigned owner;      // index of the VM, or for a provider of the pool, in the system
  bool provider;
};

enum class ThreadState : std::uint8_t { asleep, queued, running };
enum ThreadKind : std::uint8_t { net_thread, vcpu_thread };

struct ThreadView {
  ThreadState state;
  std::uint64_t key;  // its place in the server's queue
};

// CPU time that was charged to a server.
struct Charge {
  const Place& payer;
  const Place& user;       // whose thread ran
  int thread;              // ThreadKind; -1: a switch away from it
  Time from, to;
  Time deadline;           // of the payer then
};

// Times of one CPU come in order.
class Observer {
 public:
  Observer() = default;
  Observer(const Observer&) = delete;
  Observer& operator=(const Observer&) = delete;
  virtual ~Observer() = default;

  virtual void charged(const Charge&) {}
  // A packet comes to its VM, whose network thread and first vCPU are these.
  virtual void came(const Place& /*home*/, const ThreadView& /*net*/, const ThreadView& /*vcpu*/, Found, Time /*now*/) {}
  // The VM's network thread runs for the first time since packets came.
  virtual void served(unsigned /*vm*/, Time /*now*/) {}
  // The vCPU has the packet.
  virtual void seen(unsigned /*vm*/, const Packet&, Time /*now*/) {}
  // A deadline was missed; asleep: all threads of the VM that are at home on this CPU sleep.
  virtual void missed(const Place&, bool /*asleep*/, Time /*now*/) {}
  // A mark was counted.
  virtual void blocked(const Place&, Time /*now*/) {}
  virtual void denied(const Place&, Time /*now*/) {}
};

}  // namespace spare::sim
