// SPDX-License-Identifier: GPL-2.0-only
//
// What a simulated CPU keeps of a server, a VM and their threads. The state that the rules speak of is the class's own
// (abi.h); beside it stands what the kernel would keep: threads, queues, packets.
#pragma once

#include <sched_spare/cbs.h>
#include <sched_spare/edf.h>
#include <sched_spare/pool.h>
#include <sched_spare/spare.h>

#include <vector>

#include "arrivals.hpp"
#include "system.hpp"

namespace spare::sim {

struct Packet {
  Time arrived;
  Found found;
};

// First in, first out; grows to its limit and drops beyond.
class Fifo {
 public:
  bool push(const Packet& packet, std::size_t limit) {
    if (count_ == limit) {
      return false;
    }
    if (count_ == slots_.size()) {
      grow();
    }
    slots_[(head_ + count_++) % slots_.size()] = packet;
    return true;
  }
  [[nodiscard]] bool empty() const { return count_ == 0; }
  Packet pop() {
    const Packet packet = slots_[head_];
    head_ = (head_ + 1) % slots_.size();
    count_--;
    return packet;
  }

 private:
  void grow() {
    std::vector<Packet> more(slots_.empty() ? 2 : 2 * slots_.size());
    for (std::size_t i = 0; i < count_; i++) {
      more[i] = slots_[(head_ + i) % slots_.size()];
    }
    slots_ = std::move(more);
    head_ = 0;
  }
  std::vector<Packet> slots_;
  std::size_t head_ = 0, count_ = 0;
};

enum ThreadKind : std::uint8_t { net_thread, vcpu_thread };

struct Thread {
  enum class State : std::uint8_t { asleep, queued, running } state = State::asleep;
  Time key = 0;  // its place in the queue: when it was queued; later, when it has had a turn (CBS-8)
  Time ran = 0;  // CPU since it last woke
  Time turn_left = 0;  // of its turn, when it was stopped before the end

  // It has not had a full turn since it woke.
  [[nodiscard]] bool front() const { return ran < SPARE_TURN_NS; }
};

struct VmState;

struct Server {
  spare_server s{};
  VmState* vm = nullptr;  // null: a provider
  unsigned owner = 0;     // index of the VM or pool in the system
  Thread thread[2];
  Fifo ring;           // packets on their way from the network thread to this vCPU
  Time vcpu_left = 0;  // CPU that the packet in hand still takes

  Time period_used = 0, held_since = 0, waits_since = 0;
  Use use;
};

struct VmState {
  VmState(const Vm& vm, std::uint64_t seed, std::uint64_t index) : spec(&vm), arrivals(vm.traffic, seed, index) {
    abi.grant_ns = vm.policy.grant_ns;
    abi.chances = vm.policy.chances;
    abi.window_ns = vm.policy.window_ns;
    abi.gain_ns = vm.policy.gain_ns;
    abi.flags = (vm.policy.payback ? SPARE_VM_PAYBACK : 0) | (vm.policy.wait ? 0 : SPARE_VM_NOWAIT) |
                (vm.policy.hasten ? SPARE_VM_HASTEN : 0);
  }

  const Vm* spec;
  spare_vm abi{};
  Arrivals arrivals;
  std::vector<std::pair<unsigned, unsigned>> places;  // island's CPU and slot of each server; the first is home
  Fifo tap;
  bool in_hand = false;  // the network thread has taken a packet from the tap
  Packet hand{};
  Time net_left = 0;       // CPU that it still takes
  unsigned next_vcpu = 0;  // packets go to the vCPUs in turn
  VmResult result;
};

// Watches a simulation; tests check rules on what they see. Times of one CPU come in order.
class Observer {
 public:
  Observer() = default;
  Observer(const Observer&) = delete;
  Observer& operator=(const Observer&) = delete;
  virtual ~Observer() = default;

  // CPU time [from, to) of `user`'s thread was charged to `payer`, both slots of this CPU. A switch has thread -1.
  virtual void ran(unsigned, const Server& /*payer*/, const Server& /*user*/, int /*thread*/, Time /*from*/, Time /*to*/) {}
  // A packet came to its VM's home server.
  virtual void came(const Server& /*home*/, Found, Time /*now*/) {}
  // The network thread runs for the first time since these packets came.
  virtual void served(const Server& /*home*/, Time /*now*/) {}
  // The vCPU has the packet.
  virtual void seen(const Server& /*home*/, const Packet&, Time /*now*/) {}
  // A deadline was missed.
  virtual void missed(const Server&, Time /*now*/) {}
  // A mark was counted.
  virtual void blocked(const Server&, Time /*now*/) {}
  virtual void denied(const Server&, Time /*now*/) {}
};

}  // namespace spare::sim
