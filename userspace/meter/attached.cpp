// SPDX-License-Identifier: GPL-2.0-only
//
// A meter of one's own: the programs, and the VMs they know.
#include <bpf/libbpf.h>
#include <fmt/format.h>
#include <sched.h>
#include <spdlog/spdlog.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <optional>

#include "attach.hpp"
#include "cgroup.hpp"
#include "counters.hpp"
#include "host_cpus.hpp"
#include "kinds.hpp"
#include "meter.hpp"
#include "payers.hpp"
#include "reading.hpp"
#include "scan.hpp"
#include "table.hpp"
#include "util/links.hpp"
#include "vms.hpp"

namespace spare {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr seconds look_interval{1};
constexpr seconds tap_interval{30};  // a tap may come without a word: moved here from another namespace
constexpr seconds reservation_interval{5};
// Rest after a look for taps or for reservations, in lengths of it: tenants say how many files and cgroups there are, and how often links change.
constexpr int rest_taps = 9, rest_reservations = 50;
// VMs may come and go a hundred times a second: so often at most do all others hear of it, and so many are dealt with at once.
constexpr milliseconds change_interval{50};
constexpr unsigned announced_most = 64;
constexpr milliseconds announced_time{10};  // (how deep tenants' cgroups are is theirs)
// Tenants' files that are looked at in one turn, and how long nothing is looked at then.
constexpr std::size_t scan_files = 1000;
constexpr milliseconds scan_pause{20}, scan_first{200};

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

// One for each process of a VM.
void raise_limit_of_files() {
  rlimit files{};
  if (::getrlimit(RLIMIT_NOFILE, &files) == 0) {
    files.rlim_cur = files.rlim_max;
    static_cast<void>(::setrlimit(RLIMIT_NOFILE, &files));
  }
}

// While one lives, readers of the table wait. (One that a killed process has left open is over.)
class TableChange {
 public:
  explicit TableChange(spare_meter_shared& shared) : shared_(shared), was_((shared.table + 1) & ~1U) { __atomic_store_n(&shared_.table, was_ | 1U, __ATOMIC_RELEASE); }
  ~TableChange() { __atomic_store_n(&shared_.table, was_, __ATOMIC_RELEASE); }
  TableChange(const TableChange&) = delete;
  TableChange& operator=(const TableChange&) = delete;

  // The generation that there is afterwards.
  std::uint32_t next() { return was_ += 2; }

 private:
  spare_meter_shared& shared_;
  std::uint32_t was_;
};

class AttachedMeter : public Meter {
 public:
  AttachedMeter(const Roots& roots, MeterStart start, MeterPrograms programs, Counters counters, CgroupTree tree)
      : roots_(roots),
        start_(std::move(start)),
        programs_(std::move(programs)),
        counters_(std::move(counters)),
        vms_(roots, std::move(tree), {programs_.map("processes"), programs_.map("cgroups"), programs_.map("taps"), programs_.map("announced")}) {}

  // former: what is gone on with. why: what was pinned is not.
  Result<void> begin(const std::optional<MeterTable>& former, const std::string& why) {
    if (!why.empty()) {
      news_.push_back(fmt::format("counting begins anew: {}", why));
    }
    if (start_.pinned) {
      payers_.emplace(programs_.map("payers"), programs_.map("costs"));
    }
    ring_.reset(ring_buffer__new(programs_.map("found"), &AttachedMeter::found, this, nullptr));
    if (!ring_ || !timer_ || !events_ || !watch(EPOLL_CTL_ADD, timer_.get(), EPOLLIN) || !watch_ring(EPOLL_CTL_ADD) ||
        (links_.fd() >= 0 && !watch(EPOLL_CTL_ADD, links_.fd(), EPOLLIN))) {
      return errno_error("the meter's events");
    }
    find_reservations();
    TableChange change(programs_.shared());
    if (former) {
      vms_.restore(*former, [&](std::uint32_t slot) { return counters_.retire(slot); });
    }
    for (const std::string& name : start_.vms) {
      if (auto added = vms_.add_cgroup(name); !added) {
        return added.error().while_doing(name);
      }
    }
    for (const auto until = Clock::now() + scan_first; scan_ && Clock::now() < until;) {
      scan();
    }
    add_cgroups();
    publish(change);
    if (const auto online = online_cpus(roots_)) {
      visit(*online);
    }
    say_missing();
    arm(Clock::now());
    return {};
  }

  Result<Reading> read() override {
    std::vector<BilledVm> vms;
    for (const auto& [slot, vm] : vms_.all()) {
      vms.push_back(vm);
    }
    Reading reading = take_reading(roots_, counters_, std::move(vms));
    reading.epoch = programs_.shared().epoch;
    reading.missing = programs_.missing();
    return reading;
  }

  [[nodiscard]] int fd() const override { return events_.get(); }

  void turn() override {
    hear();
    const auto began = Clock::now();
    const bool more_taps = vms_.look_for_taps();
    taps_took_ += Clock::now() - began;
    if (scan_ && Clock::now() >= scan_due_) {
      scan();
      scan_due_ = Clock::now() + scan_pause;
    }
    if (Clock::now() >= look_due_) {
      tend();
    }
    if (Clock::now() >= change_due_) {
      change();
    }
    auto next = more_taps ? Clock::now() : look_due_;
    if (scan_) {
      next = std::min(next, scan_due_);
    }
    if (announced_ || vms_.changed()) {
      next = std::min(next, change_due_);
    }
    arm(next);
  }

  [[nodiscard]] std::vector<std::string> news() override {
    auto news = vms_.news();
    news.insert(news.end(), news_.begin(), news_.end());
    news_.clear();
    return news;
  }

 private:
  struct Free {
    void operator()(ring_buffer* ring) const { ring_buffer__free(ring); }
  };

  [[nodiscard]] bool watch(int operation, int fd, std::uint32_t what) const {
    epoll_event event{};
    event.events = what;
    event.data.fd = fd;
    return ::epoll_ctl(events_.get(), operation, fd, &event) == 0;
  }
  // What it says is heard every change_interval at most: it is silent until it is watched again.
  [[nodiscard]] bool watch_ring(int operation) const { return watch(operation, ring_buffer__epoll_fd(ring_.get()), EPOLLIN | EPOLLONESHOT); }

  void arm(Clock::time_point when) const {
    const auto in = std::max<std::chrono::nanoseconds>(when - Clock::now(), std::chrono::nanoseconds{1});
    const auto whole = std::chrono::duration_cast<seconds>(in);
    const itimerspec due{{}, {whole.count(), (in - whole).count()}};
    static_cast<void>(::timerfd_settime(timer_.get(), 0, &due, nullptr));
  }

  void hear() {
    std::array<epoll_event, 3> events{};
    const int n = ::epoll_wait(events_.get(), events.data(), static_cast<int>(events.size()), 0);
    for (int i = 0; i < n; i++) {
      announced_ = announced_ || events[static_cast<size_t>(i)].data.fd == ring_buffer__epoll_fd(ring_.get());
    }
    std::uint64_t expirations = 0;
    static_cast<void>(::read(timer_.get(), &expirations, sizeof(expirations)));
    if (links_.fd() >= 0) {
      const auto heard = links_.drain();
      links_changed_ = !heard || !heard->empty() || links_changed_;  // nothing: some of it was lost
    }
  }

  // VMs come, end, and are forgotten: nothing of this takes long.
  void change() {
    TableChange change(programs_.shared());
    change_due_ = Clock::now() + change_interval;
    if (announced_) {
      dealt_with_ = 0;
      deal_until_ = Clock::now() + announced_time;
      announced_ = ring_buffer__consume(ring_.get()) == -EAGAIN;
      if (!announced_) {
        static_cast<void>(watch_ring(EPOLL_CTL_MOD));
      }
    }
    if (Clock::now() >= look_due_) {
      look_due_ = Clock::now() + look_interval;
      look();
    }
    publish(change);
  }

  static int found(void* self, void* data, size_t) {
    const auto& what = *static_cast<const spare_meter_found*>(data);
    auto& meter = *static_cast<AttachedMeter*>(self);
    if (what.process != 0) {
      meter.vms_.add_process(static_cast<pid_t>(what.process));
    } else {
      meter.vms_.add_cgroup_of_thread(static_cast<pid_t>(what.thread));
    }
    return ++meter.dealt_with_ < announced_most && Clock::now() < meter.deal_until_ ? 0 : -EAGAIN;
  }

  void scan() {
    for (const pid_t process : scan_->next(scan_files)) {
      vms_.add_process(process);
    }
    if (scan_->done()) {
      scan_.reset();
    }
  }

  // What the module has bound belongs to its cgroup, whoever runs there. (All cgroups are looked at: readers of the table do not wait for it.)
  void find_reservations() {
    const auto began = Clock::now();
    const auto tree = CgroupTree::open(roots_);
    const auto reserved = tree && ::access(roots_.module().c_str(), F_OK) == 0 ? tree->with_reservation() : Result<std::vector<std::string>>(Error{});
    if (reserved) {
      reserved_ = *reserved;
    }
    reservations_due_ = Clock::now() + std::max<Clock::duration>(reservation_interval, rest_reservations * (Clock::now() - began));
  }

  // And those that were named: they may be made again.
  void add_cgroups() {
    for (const std::string& path : start_.vms) {
      static_cast<void>(vms_.add_cgroup(path));
    }
    if (const auto reserved = std::exchange(reserved_, std::nullopt)) {
      vms_.set_reservations(*reserved);
      vms_.follow_moves();
    }
  }

  void look() {
    const auto now = Clock::now();
    const bool taps = (links_changed_ || now >= taps_due_) && now >= taps_began_ + (1 + rest_taps) * taps_took_;
    if (taps) {
      links_changed_ = false;
      taps_began_ = now;
      taps_took_ = {};
      taps_due_ = now + tap_interval;
      programs_.forget();  // a tap may have got RPS
    }
    add_cgroups();
    vms_.look(taps);
    vms_.drop_gone([&](std::uint32_t slot) { return counters_.retire(slot); });
  }

  void say_missing() {
    for (const MissingPart& part : programs_.missing()) {
      if (std::find(said_.begin(), said_.end(), part) == said_.end()) {
        news_.push_back(fmt::format("not in the bill: {} ({}: {})", part.part, part.point, part.why));
        said_.push_back(part);
      }
    }
  }

  // What is attached follows what there is.
  void tend() {
    if (Clock::now() >= reservations_due_) {
      find_reservations();
    }
    programs_.tend();
    if (programs_.attach_more(vms_.has_napi())) {
      news_.emplace_back("more of the bill can be seen");
      say_missing();
      scan_.emplace(roots_);
      stale_ = true;
    }
  }

  // The programs learn of it, and those who read what is pinned.
  void publish(TableChange& change) {
    if (!vms_.take_changed() && !std::exchange(stale_, false)) {
      return;
    }
    if (payers_ && !payers_->set(vms_.payers())) {
      vms_.say("costs", "there is no room for what further VMs cost: their reservations do not pay for it");
    }
    programs_.forget();
    if (!start_.pinned) {
      return;
    }
    MeterTable table = vms_.table();
    table.epoch = programs_.shared().epoch;
    table.generation = change.next();
    table.missing = programs_.missing();
    if (auto written = table.write(MeterTable::path()); !written && !std::exchange(complained_, true)) {
      news_.push_back(written.error().text + ": who reads the meter does not hear of VMs that come or go");
    }
  }

  Roots roots_;
  MeterStart start_;
  MeterPrograms programs_;
  Counters counters_;
  Vms vms_;
  std::optional<Payers> payers_;  // only one meter charges
  Fd timer_{::timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK)}, events_{::epoll_create1(EPOLL_CLOEXEC)};
  std::unique_ptr<ring_buffer, Free> ring_;
  TapEvents links_;
  std::optional<GuestScan> scan_{roots_};
  Clock::time_point look_due_ = Clock::now() + look_interval, taps_due_ = Clock::now() + tap_interval, reservations_due_ = Clock::now();
  Clock::time_point change_due_ = Clock::now(), scan_due_ = Clock::now(), deal_until_, taps_began_;
  Clock::duration taps_took_{};  // of the looks for taps since then
  std::optional<std::vector<std::string>> reserved_;  // cgroups that were found, not looked at yet
  std::vector<std::string> news_;
  std::vector<MissingPart> said_;
  unsigned dealt_with_ = 0;
  bool stale_ = true;  // the table
  bool announced_ = true;  // somebody may be in the ring already
  bool links_changed_ = false, complained_ = false;
};

// The programs, and what a former run has left beside them: nothing, they are new.
struct Taken {
  MeterPrograms programs;
  std::optional<MeterTable> former;
  std::string why;  // what was pinned was not adopted
};

Result<Taken> take_programs(const Roots& roots, bool pinned) {
  std::string why;
  if (pinned) {
    auto adopted = MeterPrograms::adopt(MeterPins(roots));
    auto table = adopted ? MeterTable::read(MeterTable::path()) : Result<MeterTable>(Error{});
    if (table && table->epoch == adopted->shared().epoch) {
      return Taken{std::move(*adopted), std::move(*table), {}};
    }
    why = !adopted ? adopted.error().text : table ? "the table of VMs is another meter's" : table.error().text;
    if (!adopted && adopted.error().code == ENOENT) {
      why.clear();
    }
  }
  auto loaded = MeterPrograms::load(pinned ? std::optional(MeterPins(roots)) : std::nullopt);
  return loaded ? Result<Taken>(Taken{std::move(*loaded), {}, std::move(why)}) : loaded.error();
}

}  // namespace

Result<std::unique_ptr<Meter>> attach_meter(const Roots& roots, const MeterStart& start) {
  raise_limit_of_files();
  auto tree = CgroupTree::open(roots);
  if (!tree) {
    return tree.error();
  }
  auto taken = take_programs(roots, start.pinned);
  if (!taken) {
    return taken.error();
  }
  auto counters = Counters::open(taken->programs.map("cpus"), taken->programs.map("rows"), taken->programs.cpus(), true);
  if (!counters) {
    return counters.error();
  }
  spdlog::debug("the meter: {} instructions verified, {} bytes for a VM on {} CPUs", taken->programs.verified(), counters->bytes_of_vm(), taken->programs.cpus());
  auto meter = std::make_unique<AttachedMeter>(roots, start, std::move(taken->programs), std::move(*counters), std::move(*tree));
  if (auto begun = meter->begin(taken->former, taken->why); !begun) {
    return begun.error();
  }
  return std::unique_ptr<Meter>(std::move(meter));
}

}  // namespace spare
