// SPDX-License-Identifier: GPL-2.0-only
#pragma once

#include <deque>
#include <memory>
#include <vector>

#include "arrivals.hpp"
#include "class/module.hpp"
#include "observer.hpp"

namespace spare::sim {

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

// CPUs that VMs with several servers tie together, under the class itself (class/), with nothing else on them. Servers of different islands never
// affect each other (reservations are partitioned, EDF is per CPU), so islands are simulated one by one, or at once by several threads, with the same
// result.
//
// A VM has a vCPU on each of its CPUs and a network thread on the first, bound to it. Left out: the kernel's own work but for a fixed time per
// packet, which a real-time thread spends (Host), and tasks without a reservation.
class Island : private model::Kernel, private model::Module::Watch {
 public:
  static constexpr unsigned cpus_max = model::cpus_max;

  // vms: those with servers on these CPUs.
  Island(const System& system, const std::vector<unsigned>& cpus, const std::vector<unsigned>& vms, Observer* observer);
  ~Island() override;

  // Runs for the system's warm-up and length. vms gets the results of those on these CPUs, totals is added to.
  void run(std::vector<VmResult>& vms, Totals& totals);

 private:
  struct Guest;
  struct Thread : model::Task {
    Guest* guest = nullptr;
    Fifo ring;  // a vCPU: packets on their way to it
  };

  struct Guest {
    Guest(const Vm& given, std::uint64_t seed, unsigned of_system, std::size_t of_island)
        : spec(given), index(of_system), number(static_cast<unsigned>(of_island)), arrivals(given.traffic, seed, of_system) {}

    const Vm& spec;
    unsigned index, number;  // in the system, in the island
    Arrivals arrivals;
    model::Vm* vm = nullptr;
    std::vector<model::Server*> servers;  // the first is home
    std::unique_ptr<Thread> net;
    std::vector<std::unique_ptr<Thread>> vcpus;
    Fifo tap;
    bool in_hand = false;  // the network thread has taken a packet from the tap
    Packet hand{};
    std::uint64_t served = 0;  // packets that the network thread has run for
    unsigned next_vcpu = 0;    // packets go to the vCPUs in turn
    VmResult result;
  };

  // The host's way from the wire to a tap's queue, on one CPU.
  struct Interrupts {
    model::Task task;
    std::deque<std::pair<Guest*, Time>> packets;  // for whom, and how long it takes
  };

  // What is written down of a server beside the class's own account.
  struct Book {
    model::Server* s = nullptr;
    unsigned owner = 0;
    bool provider = false;
    Guest* guest = nullptr;
    std::uint64_t asked = 0;
    Time use_max = 0, held = 0, waited = 0;
    Time deadline = 0, period_used = 0;  // of the last charge, and what was charged under that deadline
    Book* partner = nullptr;             // it borrows from, or lends to, since
    Time held_since = 0;
    bool waits = false;                  // since
    Time waits_since = 0;
    std::uint64_t blocked = 0, denied = 0, misses = 0;  // as last seen

    [[nodiscard]] Place place() const { return {s->cpu, s->slot, s->abi, owner, provider}; }
  };

  void work_done(model::Task& p) override;
  void switched(model::Cpu& c, model::Task& prev, model::Task& next) override;
  void happens(std::uint32_t what) override;
  void call_begins() override;
  void call_ends() override;
  void granted(model::Server& s, model::Server& provider) override;
  void elsewhere(model::Cpu&, model::Task&) override {}
  void gone(model::Task&) override {}
  void describe() override {}

  void enter(model::Server& s, unsigned owner);
  model::Vm& make_vm(const Reservation& reservation, bool provide, std::uint64_t cpus);
  void make_guest(unsigned index, const std::vector<unsigned>& home, const std::vector<model::Vm*>& providers);
  std::unique_ptr<Thread> make_thread(Guest& guest, model::Role role, unsigned number, unsigned cpu);
  Book& book(const model::Server& s);
  [[nodiscard]] Time relative() const { return now() - begins; }
  static bool asleep(const model::Task& p) { return p.__state && !p.on_rq; }
  [[nodiscard]] ThreadView view(const Thread& p);

  void schedule_arrival(Guest& guest);
  void arrive(Guest& guest);
  Found found(const Guest& guest) const;
  void deliver(Guest& guest);
  void take_packet(Guest& guest);
  void hand_to_vcpu(Guest& guest);
  void vcpu_work(Thread& p);
  void look(Book& b);
  void give_back(Book& b);
  void charged(Book& b, Time delta);
  void reset_counts();
  void collect(std::vector<VmResult>& vms, Totals& totals);

  static constexpr Time begins = class_begins;

  const System& system_;
  Observer* observer_;
  model::Module module_{*this};
  model::Group root_{};
  std::vector<std::unique_ptr<Guest>> guests_;
  std::vector<std::unique_ptr<Interrupts>> interrupts_;  // of each CPU
  std::vector<std::vector<Book>> books_;                 // by CPU and slot
  Histogram latency_[found_kinds];
  // Of the callback that runs: who would be charged.
  Book* payer_ = nullptr;
  const Book* user_ = nullptr;
  int thread_ = -1;
  Time used_then_ = 0, deadline_then_ = 0;
};

}  // namespace spare::sim
