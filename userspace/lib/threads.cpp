// SPDX-License-Identifier: GPL-2.0-only
#include "threads.hpp"

#include <sched.h>

#include <algorithm>
#include <cctype>
#include <iterator>

#include "flat_keyed.hpp"
#include "util/files.hpp"

namespace spare {
namespace {

namespace fs = std::filesystem;

// proc(5): of /proc/ID/task/ID/stat, counted from what follows the name. (/proc/ID/stat sums up times of the whole process.)
constexpr size_t policy_field = 38;

bool is_realtime(const std::string& stat) {
  const auto fields = split(stat.substr(std::min(stat.rfind(')'), stat.size() - 1) + 1), " ");
  const auto policy = fields.size() > policy_field ? as_integer(fields[policy_field]) : std::nullopt;
  return policy == SCHED_FIFO || policy == SCHED_RR || policy == SCHED_DEADLINE;
}

Cpus allowed_in(const std::string& status) {
  constexpr std::string_view key = "Cpus_allowed_list:";
  for (const std::string& line : split(status, "\n")) {
    if (line.starts_with(key)) {
      auto cpus = parse_cpu_list(trim(line.substr(key.size())));
      return cpus ? std::move(*cpus) : Cpus();
    }
  }
  return {};
}

// CBS-10: then what is below belongs to it.
bool has_servers(const fs::path& dir) {
  const auto reservation = read_file(dir / file::reservation), cpus = read_file(dir / file::cpus);
  return reservation && cpus && trim(*reservation) != "max" && !trim(*cpus).empty();
}

void add_threads(const Roots& roots, const fs::path& dir, std::vector<Thread>& threads) {
  const auto ids = read_file(dir / "cgroup.threads");
  for (std::string& id : ids ? split(*ids, "\n") : std::vector<std::string>()) {
    const fs::path proc = roots.proc / id;
    const auto comm = read_file(proc / "comm");
    if (!comm) {
      continue;
    }
    const auto status = read_file(proc / "status"), stat = read_file(proc / "task" / id / "stat");
    threads.push_back({std::move(id), std::string(trim(*comm)), status ? allowed_in(*status) : Cpus(), stat && is_realtime(*stat)});
  }
}

}  // namespace

bool is_vcpu_name(std::string_view comm) {
  constexpr std::string_view head = "CPU ", tail = "/KVM";
  if (!comm.starts_with(head) || !comm.ends_with(tail) || comm.size() <= head.size() + tail.size()) {
    return false;
  }
  const auto digits = comm.substr(head.size(), comm.size() - head.size() - tail.size());
  return std::all_of(digits.begin(), digits.end(), [](unsigned char c) { return std::isdigit(c) != 0; });
}

std::vector<Thread> threads_in(const Roots& roots, const CgroupTree& tree, const std::string& path) {
  std::vector<Thread> threads;
  std::vector<fs::path> open = {tree.mount() / path.substr(1)};
  while (!open.empty()) {
    const fs::path dir = std::move(open.back());
    open.pop_back();
    add_threads(roots, dir, threads);
    std::error_code gone;
    for (fs::directory_iterator entry(dir, gone), end; !gone && entry != end; entry.increment(gone)) {
      std::error_code unknown;
      if (entry->is_directory(unknown) && !has_servers(entry->path())) {
        open.push_back(entry->path());
      }
    }
  }
  return threads;
}

std::vector<Thread> vcpus_of(const std::vector<Thread>& threads) {
  std::vector<Thread> vcpus;
  std::copy_if(threads.begin(), threads.end(), std::back_inserter(vcpus), [](const Thread& thread) { return is_vcpu_name(thread.name); });
  return vcpus;
}

}  // namespace spare
