// SPDX-License-Identifier: GPL-2.0-only
#include "top/reader.hpp"

#include <fmt/format.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <algorithm>
#include <ctime>
#include <utility>

#include "class_state.hpp"
#include "ledger.hpp"
#include "meter/proc.hpp"
#include "settings.hpp"
#include "top/metering.hpp"
#include "util/files.hpp"
#include "util/procfs.hpp"

namespace sparectl::top {
namespace {

using std::chrono::seconds;

// Looking for VMs takes at most a three-hundredth of a CPU, and at most so long goes by between two looks.
constexpr int rest = 300;
constexpr std::size_t files_each = 5000;  // looked at for guests at each sample
// Of one VM, whatever its tenant starts: threads whose waiting is counted, processes that are asked for a name.
constexpr std::size_t threads_most = 1024, processes_most = 16;
constexpr auto vms_interval = seconds{1}, guests_interval = seconds{5}, longest_rest = seconds{30};

template <typename Duration>
auto due_after(std::chrono::steady_clock::time_point began, Duration interval) {
  const auto now = std::chrono::steady_clock::now();
  return now + std::clamp<std::chrono::steady_clock::duration>((now - began) * rest, interval, longest_rest);
}

std::uint64_t now_of(clockid_t clock) {
  timespec now{};
  ::clock_gettime(clock, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * 1000000000U + static_cast<std::uint64_t>(now.tv_nsec);
}

std::uint64_t id_of(const std::filesystem::path& dir) {
  struct stat info {};
  return ::stat(dir.c_str(), &info) == 0 ? info.st_ino : 0;
}

// Another one may have its number by now.
bool same_thread(const Schedstat& before, const Schedstat& now) { return now.run_ns >= before.run_ns && now.wait_ns >= before.wait_ns && now.runs >= before.runs; }

std::string last_part(const std::string& path) { return path.substr(path.rfind('/') + 1); }

void raise_limit() {
  rlimit files{};
  if (::getrlimit(RLIMIT_NOFILE, &files) == 0) {
    files.rlim_cur = files.rlim_max;
    if (::setrlimit(RLIMIT_NOFILE, &files) == 0) {
      KeptFile::keep_up_to(static_cast<int>(std::min<rlim_t>(files.rlim_max, 1 << 20)) - 64);
    }
  }
}

}  // namespace

spare::Result<Reader> Reader::open(const spare::Roots& roots) {
  auto tree = spare::CgroupTree::open(roots);
  if (!tree) {
    return tree.error();
  }
  raise_limit();
  return Reader(roots, std::move(*tree));
}

Reader::Reader(spare::Roots roots, spare::CgroupTree tree)
    : roots_(std::move(roots)), tree_(std::move(tree)), proc_stat_(roots_.proc / "stat"), host_(tree_.mount() / spare::file::host) {
  const auto boot = spare::read_file(roots_.proc / "sys/kernel/random/boot_id");
  boot_ = boot ? spare::trim(*boot) : "";
}

Reader::Known& Reader::know(const std::string& path, std::uint64_t id) {
  Known& known = known_[path];
  if (known.vm.id != id || known.vm.path.empty()) {
    known = Known();
    known.vm.path = spare::printable(path);
    known.vm.id = id;
    known.vm.name = last_part(known.vm.path);
  }
  known.found = true;
  return known;
}

void Reader::read_settings(const spare::Cgroup& cgroup, VmSample& vm) const {
  const auto reservation = spare::read_reservation(cgroup);
  vm.runtime_us = reservation && *reservation ? (*reservation)->runtime_us : 0;
  vm.period_us = reservation && *reservation ? (*reservation)->period_us : 0;
  const auto text = [&](const char* file) {
    const auto value = cgroup.read(file);
    return value && *value != "none" ? spare::printable(*value) : std::string();
  };
  vm.cpus = text(spare::file::cpus);
  vm.provider = text(spare::file::provide) == "1";
  vm.use = text(spare::file::use);
  vm.netdev = text(spare::file::netdev);
  vm.policy = text(spare::file::policy);
}

// Whether a cgroup below `path` belongs to a VM that is nearer to it.
bool Reader::is_of_another(std::string below, const std::string& path) const {
  for (; below.size() > path.size(); below.resize(below.rfind('/'))) {
    if (known_.contains(below)) {
      return true;
    }
  }
  return false;
}

// Of the cgroup and those below it that have no reservation of their own.
std::vector<int> Reader::thread_ids(const std::string& path, std::vector<int>* processes) const {
  const auto top = tree_.mount() / path.substr(1);
  std::vector<int> ids;
  auto dirs = tree_.below(top);
  dirs.push_back(top);
  for (const auto& dir : dirs) {
    if (is_of_another(dir.string().substr(tree_.mount().string().size()), path)) {
      continue;
    }
    const auto threads = spare::read_file(dir / "cgroup.threads");
    const auto here = threads ? spare::processes_of(*threads) : std::vector<pid_t>();
    ids.insert(ids.end(), here.begin(), here.end());
    if (processes != nullptr) {
      const auto procs = spare::read_file(dir / "cgroup.procs");
      const auto some = procs ? spare::processes_of(*procs) : std::vector<pid_t>();
      processes->insert(processes->end(), some.begin(), some.end());
    }
  }
  return ids;
}

void Reader::name_guest(Known& known, const std::vector<int>& processes) const {
  for (std::size_t i = 0; i < std::min(processes.size(), processes_most); i++) {
    if (const std::string name = spare::guest_name(roots_, processes[i]); !name.empty()) {
      known.vm.name = name;
      known.guest_named = true;
      return;
    }
  }
}

void Reader::find_threads(Known& known, const std::vector<int>& ids) {
  std::map<int, Thread> threads;
  for (const int id : ids) {
    if (threads.size() == threads_most) {
      break;
    }
    const auto had = known.threads.find(id);
    threads[id] = had != known.threads.end() ? std::move(had->second) : Thread{KeptFile(roots_.proc / std::to_string(id) / "schedstat"), {}, false};
  }
  known.threads = std::move(threads);
}

void Reader::add_reserved(const std::string& path) {
  const auto cgroup = tree_.at(path);
  const auto dir = tree_.mount() / path.substr(1);
  if (!cgroup) {
    return;
  }
  Known& known = know(path, id_of(dir));
  if (known.stat.path().empty() || known.stat.path().filename() != spare::file::stat) {
    known.stat = KeptFile(dir / spare::file::stat);
    known.cpu_max = KeptFile();
  }
  known.vm.capped = false;
  read_settings(*cgroup, known.vm);
}

// A guest in a cgroup without a reservation, or in one that is not its alone.
void Reader::add_guest(int process) {
  const std::string cgroup = spare::vm_cgroup(tree_.mount().string(), spare::cgroup_of(roots_, process));
  if (cgroup.empty()) {
    const std::uint64_t started = spare::start_of(roots_, process);
    if (started != 0) {
      Known& known = know(fmt::format("pid {}", process), started);
      name_guest(known, {process});
      std::vector<int> ids;
      std::error_code gone;
      for (std::filesystem::directory_iterator entry(roots_.proc / std::to_string(process) / "task", gone), end; !gone && entry != end; entry.increment(gone)) {
        ids.push_back(std::atoi(entry->path().filename().c_str()));
      }
      find_threads(known, ids);
    }
    return;
  }
  for (std::string above = cgroup; !above.empty(); above.resize(above.rfind('/'))) {
    const auto reserved = known_.find(above);
    if (reserved != known_.end() && reserved->second.found) {  // CBS-10
      return;
    }
  }
  const auto dir = tree_.mount() / cgroup.substr(1);
  if (const auto had = known_.find(cgroup); had != known_.end() && had->second.stat.path().filename() == spare::file::stat) {
    known_.erase(had);  // its reservation was taken away, and what was read of it is no longer so
  }
  Known& known = know(cgroup, id_of(dir));
  if (known.stat.path().empty()) {
    known.stat = KeptFile(dir / "cpu.stat");
    known.cpu_max = KeptFile(dir / spare::file::cpu_max);
  }
}

// A piece of /proc at each sample: it may be long.
void Reader::scan_for_guests() {
  if (!scan_ && Clock::now() < guests_due_) {
    return;
  }
  if (!scan_) {
    scan_.emplace(roots_);
    scanned_.clear();
  }
  const auto some = scan_->next(files_each);
  scanned_.insert(scanned_.end(), some.begin(), some.end());
  if (scan_->done()) {
    scan_.reset();
    vms_due_ = guests_ == scanned_ ? vms_due_ : Clock::time_point();
    guests_ = std::move(scanned_);
    guests_due_ = Clock::now() + guests_interval;
  }
}

void Reader::look_for_threads() {
  for (auto& [path, known] : known_) {
    if (path.starts_with("/")) {
      std::vector<int> processes;
      find_threads(known, thread_ids(path, known.guest_named ? nullptr : &processes));
      name_guest(known, processes);
    }
  }
}

void Reader::look_for_vms() {
  const auto began = Clock::now();
  for (auto& [path, known] : known_) {
    known.found = false;
  }
  const auto reserved = tree_.with_reservation();
  for (const std::string& path : reserved ? *reserved : std::vector<std::string>()) {
    add_reserved(path);
  }
  for (const pid_t process : guests_) {
    add_guest(process);
  }
  std::erase_if(known_, [](const auto& entry) { return !entry.second.found; });
  // Not before the first screen.
  const bool threads_looked = std::exchange(looked_, true);
  if (threads_looked) {
    look_for_threads();
  }
  if (!meter_) {
    auto meter = spare::open_meter(roots_);
    meter_ = meter ? std::move(*meter) : nullptr;
  }
  vms_due_ = threads_looked ? due_after(began, vms_interval) : Clock::time_point();
}

void Reader::read_bill(Sample& sample) {
  if (!meter_) {
    return;
  }
  if (const auto reading = meter_->read()) {
    add_bill(*reading, sample);
  } else {
    meter_.reset();  // spared keeps it no longer
  }
}

void Reader::read_threads(Known& known) {
  auto& values = known.vm.values;
  std::uint64_t run = values.get(Counter::run_ns).value_or(0), wait = values.get(Counter::wait_ns).value_or(0), runs = values.get(Counter::runs).value_or(0);
  for (auto& [id, thread] : known.threads) {
    const auto now = parse_schedstat(thread.schedstat.read(buffer_));
    if (!now) {
      continue;
    }
    if (thread.seen && same_thread(thread.last, *now)) {
      run += now->run_ns - thread.last.run_ns;
      wait += now->wait_ns - thread.last.wait_ns;
      runs += now->runs - thread.last.runs;
    }
    thread.seen = true;
    thread.last = *now;
  }
  values.set(Counter::run_ns, run);
  values.set(Counter::wait_ns, wait);
  values.set(Counter::runs, runs);
}

void Reader::read_vm(Known& known) {
  read_threads(known);
  if (known.stat.path().empty()) {
    known.vm.values.set(Counter::used_ns, *known.vm.values.get(Counter::run_ns));
  } else if (known.stat.path().filename() == spare::file::stat) {
    parse_spare_stat(known.stat.read(buffer_), known.vm);
  } else {
    parse_cpu_stat(known.stat.read(buffer_), known.vm);
    parse_cpu_max(known.cpu_max.read(buffer_), known.vm);
  }
}

void Reader::say_state(Sample& sample) const {
  const spare::ClassState scheduler = spare::read_class_state(roots_);
  const spare::ModuleState module = spare::read_module_state(roots_);
  const auto daemon = spare::running_daemon();
  sample.class_runs = scheduler.ours();
  sample.limit_ppm = module.loaded ? spare::read_limit_ppm(roots_) : 0;
  sample.state = scheduler.ours() ? "class enabled" : scheduler.enabled() ? fmt::format("class: {} runs", spare::printable(scheduler.ops)) : "no class";
  sample.state += module.loaded ? fmt::format(", limit {:.4g} %", static_cast<double>(sample.limit_ppm) / 1e4) : ", no module";
  sample.state += daemon ? "" : ", no spared";
}

Sample Reader::read() {
  scan_for_guests();
  if (Clock::now() >= vms_due_) {
    look_for_vms();
  }
  Sample sample;
  sample.boot = boot_;
  sample.monotonic_ns = now_of(CLOCK_MONOTONIC);
  sample.real_ns = static_cast<std::int64_t>(now_of(CLOCK_REALTIME));
  sample.vms.reserve(known_.size());
  for (auto& [path, known] : known_) {
    read_vm(known);
    sample.vms.push_back(known.vm);
  }
  // They mostly are: of some names what is printed has another place.
  const auto by_path = [](const VmSample& a, const VmSample& b) { return a.path < b.path; };
  if (!std::is_sorted(sample.vms.begin(), sample.vms.end(), by_path)) {
    std::sort(sample.vms.begin(), sample.vms.end(), by_path);
  }
  sample.cpus = parse_proc_stat(proc_stat_.read(buffer_));
  parse_spare_host(host_.read(buffer_), sample.cpus);
  read_bill(sample);
  say_state(sample);
  return sample;
}

// What proc(5)'s stat says behind the name: the state, and the CPU where it ran last.
void Reader::describe(ThreadRow& row) const {
  constexpr std::size_t state = 0, processor = 36;
  const auto dir = roots_.proc / std::to_string(row.id);
  const auto name = spare::read_file(dir / "comm"), stat = spare::read_file(dir / "stat");
  row.name = name ? spare::printable(spare::trim(*name)) : "?";
  const auto fields = stat ? spare::split(stat->substr(std::min(stat->rfind(')'), stat->size() - 1) + 1), " ") : std::vector<std::string>();
  if (fields.size() > processor) {
    row.state = fields[state][0];
    row.cpu = static_cast<int>(spare::as_integer(fields[processor]).value_or(-1));
  }
}

std::vector<ThreadRow> Reader::threads_of(const std::string& path) {
  const auto found = std::find_if(known_.begin(), known_.end(), [&](const auto& entry) { return entry.second.vm.path == path; });
  if (found == known_.end()) {
    return {};
  }
  const auto now = Clock::now();
  const double passed = detail_of_ == path ? std::chrono::duration<double>(now - detail_at_).count() : 0;
  std::map<int, Schedstat> seen;
  std::vector<ThreadRow> rows;
  for (auto& [id, thread] : found->second.threads) {
    const auto stat = parse_schedstat(thread.schedstat.read(buffer_));
    if (!stat) {
      continue;
    }
    ThreadRow row;
    row.id = id;
    describe(row);
    seen[id] = *stat;
    if (const auto before = detail_.find(id); passed > 0 && before != detail_.end() && same_thread(before->second, *stat)) {
      row.used_pct = static_cast<double>(stat->run_ns - before->second.run_ns) / passed / 1e7;
      row.wait_pct = static_cast<double>(stat->wait_ns - before->second.wait_ns) / passed / 1e7;
      row.runs_ps = static_cast<double>(stat->runs - before->second.runs) / passed;
    }
    rows.push_back(std::move(row));
  }
  detail_ = std::move(seen);
  detail_of_ = path;
  detail_at_ = now;
  return rows;
}

}  // namespace sparectl::top
