// SPDX-License-Identifier: GPL-2.0-only
#include "run.hpp"

#include <bpf/libbpf.h>
#include <poll.h>
#include <sched.h>
#include <spdlog/spdlog.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <map>
#include <memory>

#include "attach.hpp"
#include "cgroup.hpp"
#include "counters.hpp"
#include "host_cpus.hpp"
#include "print.hpp"
#include "sched_spare/abi.h"
#define SPARE_METER_READER
#include "sched_spare/meter.h"
#include "util/links.hpp"
#include "util/signals.hpp"

namespace spare {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr auto tap_interval = std::chrono::seconds{30};          // a tap may come without a word: moved here from another namespace
constexpr unsigned announced_most = 64;                             // dealt with before signals are heard again
constexpr auto tend_interval = std::chrono::seconds{1};
constexpr auto reservation_interval = std::chrono::seconds{5};

// A CPU's account begins with its first switch: this thread goes to each once, and comes back.
void visit(const Cpus& cpus) {
  cpu_set_t own;
  if (::sched_getaffinity(0, sizeof(own), &own) != 0) {
    return;
  }
  for (const unsigned cpu : cpus) {
    cpu_set_t there;
    CPU_ZERO(&there);
    CPU_SET(cpu, &there);
    ::sched_setaffinity(0, sizeof(there), &there);
  }
  ::sched_setaffinity(0, sizeof(own), &own);
}

class Meter {
 public:
  Meter(const Roots& roots, MeterPrograms programs, Counters counters, Vms vms, const MeterOptions& options)
      : roots_(roots), programs_(std::move(programs)), counters_(std::move(counters)), vms_(std::move(vms)), options_(options) {}

  int run(const Fd& signals) {
    std::unique_ptr<ring_buffer, void (*)(ring_buffer*)> ring(ring_buffer__new(programs_.map("found"), &Meter::found, this, nullptr), ring_buffer__free);
    if (!ring) {
      spdlog::error("{}", errno_error("the meter's ring buffer").text);
      return 1;
    }
    TapEvents links;
    if (!begin()) {
      return 1;
    }
    const auto interval = std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(options_.interval_s));
    auto due = Clock::now() + interval;
    for (unsigned shown = 0; options_.count == 0 || shown < options_.count;) {
      std::array<pollfd, 3> fds = {{{signals.get(), POLLIN, 0}, {ring_buffer__epoll_fd(ring.get()), POLLIN, 0}, {links.fd(), POLLIN, 0}}};
      const bool busy = vms_.look_for_taps() || more_found_;
      if (!busy) {
        publish();
      }
      const auto left = busy ? milliseconds{0} : std::chrono::ceil<milliseconds>(std::min(due, tend_due_) - Clock::now());
      ::poll(fds.data(), fds.size(), static_cast<int>(std::max<std::int64_t>(left.count(), 0)));
      if (next_signal(signals)) {
        return 0;
      }
      announced_ = 0;
      more_found_ = ring_buffer__consume(ring.get()) == -EAGAIN;
      if (links.fd() >= 0) {
        const auto heard = links.drain();
        links_changed_ = !heard || !heard->empty() || links_changed_;  // nothing: some of it was lost
      }
      if (Clock::now() >= tend_due_) {
        tend_due_ = Clock::now() + tend_interval;
        programs_.tend();
      }
      if (Clock::now() >= due) {
        if (!look()) {
          spdlog::error("the bill cannot be written: {}", std::strerror(errno));
          return 1;
        }
        shown++;
        due = std::max(due + interval, Clock::now());
      }
    }
    return 0;
  }

 private:
  static int found(void* self, void* data, size_t) {
    const auto& what = *static_cast<const spare_meter_found*>(data);
    auto& meter = *static_cast<Meter*>(self);
    auto& vms = meter.vms_;
    if (what.process != 0) {
      vms.add_process(static_cast<pid_t>(what.process));
    } else {
      vms.add_cgroup_of_thread(static_cast<pid_t>(what.thread));
    }
    return ++meter.announced_ < announced_most ? 0 : -EAGAIN;
  }

  bool begin() {
    for (const std::string& name : options_.vms) {
      if (auto added = vms_.add_cgroup(name); !added) {
        spdlog::error("--vm {}: {}", name, added.error().text);
        return false;
      }
    }
    for (const pid_t process : processes_with_guests(roots_)) {
      vms_.add_process(process);
    }
    look_for_cgroups();
    publish();
    if (const auto online = read_host_cpus(roots_)) {
      visit(ids_of(*online));
    }
    say_missing();
    take();
    return true;
  }

  // What the module has bound belongs to its cgroup, whoever runs there.
  // And for those that were named: they may be made again.
  void look_for_cgroups() {
    reservations_due_ = Clock::now() + reservation_interval;
    for (const std::string& path : options_.vms) {
      static_cast<void>(vms_.add_cgroup(path));
    }
    const auto tree = CgroupTree::open(roots_);
    const auto reserved = tree && ::access(roots_.module().c_str(), F_OK) == 0 ? tree->with_reservation() : Result<std::vector<std::string>>(Error{});
    if (reserved) {
      for (const std::string& path : *reserved) {
        if (const auto added = vms_.add_cgroup(path); !added && added.error().code == ENAMETOOLONG) {
          vms_.say(path, added.error().text);
        }
      }
    }
  }

  // New VMs begin with nothing, and the programs learn of them.
  void publish() {
    if (!vms_.changed()) {
      return;
    }
    programs_.forget();
    for (const auto& [slot, vm] : vms_.all()) {
      if (!before_.contains(slot)) {
        auto& rows = before_[slot];
        for (unsigned cpu = 0; cpu < programs_.cpus(); cpu++) {
          rows.push_back(counters_.row(cpu, slot));
        }
      }
    }
    std::erase_if(before_, [&](const auto& entry) { return entry.first != 0 && !vms_.all().contains(entry.first); });
  }

  void say_missing() {
    for (const MissingPart& part : programs_.missing()) {
      spdlog::warn("not in the bill: {} ({}: {})", part.part, part.point, part.why);
    }
  }

  // The bill since the last call.
  Bill take() {
    Bill bill;
    std::vector<std::uint32_t> slots = {0};
    for (const auto& [slot, vm] : vms_.all()) {
      slots.push_back(slot);
      bill.vms.push_back({&vm, {}, {}});
    }
    before_.try_emplace(0, std::vector<BillRow>(programs_.cpus()));
    timespec real{};
    clock_gettime(CLOCK_REALTIME, &real);
    bill.time_ns = real.tv_sec * std::int64_t{1000000000} + real.tv_nsec;
    const auto now = Clock::now();
    bill.interval_ns = static_cast<std::uint64_t>(std::chrono::nanoseconds(now - last_).count());
    last_ = now;
    const auto online = read_host_cpus(roots_);
    for (const unsigned cpu : online ? ids_of(*online) : Cpus()) {
      if (cpu >= programs_.cpus()) {
        continue;
      }
      const CpuReading reading = counters_.read(cpu, slots);
      CpuBill of{cpu, reading.steady, reading.elapsed_ns - std::exchange(elapsed_[cpu], reading.elapsed_ns), 0, {}};
      for (size_t i = 0; i < slots.size(); i++) {
        const BillRow had = since(before_[slots[i]][cpu], reading.rows[i]);
        if (i == 0) {
          of.host = had;
          continue;
        }
        VmBill& vm = bill.vms[i - 1];
        vm.of_cpu_ns.push_back(total(had));
        of.vms_ns += total(had);
        for (size_t kind = 0; kind < had.ns.size(); kind++) {
          vm.sum.ns[kind] += had.ns[kind];
        }
        vm.sum.packets[0] += had.packets[0];
        vm.sum.packets[1] += had.packets[1];
      }
      bill.cpus.push_back(of);
    }
    return bill;
  }

  static BillRow since(BillRow& before, const BillRow& now) {
    BillRow had;
    for (size_t kind = 0; kind < had.ns.size(); kind++) {
      had.ns[kind] = now.ns[kind] - before.ns[kind];
    }
    had.packets = {now.packets[0] - before.packets[0], now.packets[1] - before.packets[1]};
    before = now;
    return had;
  }

  // Whether what it has to say could be written.
  bool look() {
    const bool taps = links_changed_ || Clock::now() >= taps_due_;
    if (taps) {
      links_changed_ = false;
      taps_due_ = Clock::now() + tap_interval;
      programs_.forget();  // a tap may have got RPS
    }
    if (Clock::now() >= reservations_due_) {
      look_for_cgroups();
    }
    vms_.look(taps);
    publish();
    Bill bill = take();
    std::stable_sort(bill.vms.begin(), bill.vms.end(), [](const VmBill& a, const VmBill& b) { return total(a.sum) > total(b.sum); });
    const std::string text = options_.json ? as_json(bill, programs_.missing()) : as_table(bill) + "\n";
    if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size() || std::fflush(stdout) != 0) {
      return false;
    }
    vms_.drop_gone();
    publish();
    if (programs_.attach_more(vms_.has_napi())) {
      spdlog::info("more of the bill can be seen");
      say_missing();
      for (const pid_t process : processes_with_guests(roots_)) {
        vms_.add_process(process);
      }
    }
    return true;
  }

  const Roots& roots_;
  MeterPrograms programs_;
  Counters counters_;
  Vms vms_;
  const MeterOptions& options_;
  std::map<std::uint32_t, std::vector<BillRow>> before_;  // by slot: each CPU's row when it was last looked at
  std::map<unsigned, std::uint64_t> elapsed_;             // by CPU
  Clock::time_point last_ = Clock::now(), taps_due_ = Clock::now() + tap_interval, reservations_due_ = Clock::now(), tend_due_ = Clock::now() + tend_interval;
  bool links_changed_ = false, more_found_ = false;
  unsigned announced_ = 0;
};

}  // namespace

int run_meter(const Roots& roots, const MeterOptions& options) {
  // One for each process of a VM.
  rlimit files{};
  if (::getrlimit(RLIMIT_NOFILE, &files) == 0) {
    files.rlim_cur = files.rlim_max;
    static_cast<void>(::setrlimit(RLIMIT_NOFILE, &files));
  }
  const Fd signals = open_signals({SIGTERM, SIGINT});
  const auto fail = [](const Error& error) {
    spdlog::error("{}", error.text);
    return 1;
  };
  auto tree = CgroupTree::open(roots);
  if (!tree) {
    return fail(tree.error());
  }
  auto programs = MeterPrograms::load();
  if (!programs) {
    return fail(programs.error());
  }
  auto counters = Counters::open(programs->map("cpus"), programs->map("rows"), programs->cpus());
  if (!counters) {
    return fail(counters.error());
  }
  spdlog::debug("the meter: {} instructions verified, {} bytes for a VM on {} CPUs", programs->verified(), counters->bytes_of_vm(), programs->cpus());
  Vms vms(roots, std::move(*tree), {programs->map("processes"), programs->map("cgroups"), programs->map("taps"), programs->map("announced")});
  return Meter(roots, std::move(*programs), std::move(*counters), std::move(vms), options).run(signals);
}

}  // namespace spare
