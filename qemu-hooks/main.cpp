// SPDX-License-Identifier: GPL-2.0-only
//
// spare-qemu: a cgroup with a reservation for one QEMU, from before its first instruction to after its last.
#include <fcntl.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <thread>

#include "launch.hpp"
#include "options.hpp"
#include "tap_binder.hpp"
#include "tool.hpp"
#include "util/fd.hpp"
#include "util/files.hpp"
#include "util/procfs.hpp"

namespace spare_qemu {
namespace {

using spare::Fd;
using spare::Result;

constexpr int exit_wrapper_failed = 125;
constexpr const char* wrapper_mark = "user.spare_qemu";  // extended attribute of the cgroups that wrappers make
constexpr int lock_tries = 20, lock_pause_us = 20000;
constexpr std::chrono::seconds dying_limit{5};  // a QEMU whose wrapper was killed has got SIGTERM
constexpr std::chrono::milliseconds dying_pause{50};

void complain(const std::string& text) { fmt::print(stderr, "spare-qemu: {}\n", text); }

// The cgroup of this guest, locked by its directory for as long as the wrapper lives.
class GuestCgroup {
 public:
  // Makes it. One that a killed wrapper left behind is replaced when nothing runs in it any more: a QEMU in the background outlives its
  // wrapper. One that is another's is neither used nor changed.
  static Result<GuestCgroup> make(std::string path) {
    auto made = open(path);
    if (!made && made.error().code == sparectl_exists) {
      if (auto removed = remove_left_behind(path, made.error().text); !removed) {
        return removed.error();
      }
      made = open(path);
      if (!made && made.error().code == sparectl_exists) {
        return spare::Error{fmt::format("somebody else makes the cgroup {} just now", path)};
      }
    }
    if (!made) {
      return made.error();
    }
    if (::fsetxattr(made->get(), wrapper_mark, "1", 1, 0) != 0) {
      complain(spare::errno_error("cannot mark the cgroup as the wrapper's").text);
    }
    return GuestCgroup(std::move(*made), std::move(path));
  }

  [[nodiscard]] int dir() const { return dir_.get(); }
  [[nodiscard]] const std::string& path() const { return path_; }
  [[nodiscard]] bool populated() const { return is_populated(dir_.get()); }
  [[nodiscard]] std::vector<pid_t> processes() const { return processes_in(dir_.get()); }
  // To each process in it.
  void signal(int number) const {
    for (const pid_t pid : processes()) {
      ::kill(pid, number);
    }
  }
  // Kills what is left in it.
  void remove() const {
    if (auto removed = sparectl({"remove", "--force", path_}); !removed) {
      complain(removed.error().text);
    }
  }

 private:
  static bool is_populated(int dir) {
    const auto events = spare::read_file_at(dir, "cgroup.events");
    return events && events->find("populated 1") != std::string::npos;
  }

  static std::vector<pid_t> processes_in(int dir) {
    const auto text = spare::read_file_at(dir, "cgroup.procs");
    return text ? spare::processes_of(*text) : std::vector<pid_t>();
  }

  GuestCgroup(Fd dir, std::string path) : dir_(std::move(dir)), path_(std::move(path)) {}

  static Result<Fd> locked(const std::string& directory, const std::string& path) {
    Fd dir(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!dir) {
      return spare::errno_error(directory);
    }
    // One that was refused looks at the cgroup under this lock, for a moment.
    int tries = 0;
    while (::flock(dir.get(), LOCK_EX | LOCK_NB) != 0 && ++tries < lock_tries) {
      ::usleep(lock_pause_us);
    }
    if (tries == lock_tries) {
      return spare::Error{fmt::format("another spare-qemu runs in {}: give this guest another -name or --spare-cgroup", path)};
    }
    return dir;
  }

  // A new one. sparectl_exists: there is one, whose directory is the error's text.
  static Result<Fd> open(const std::string& path) {
    std::string directory;
    if (auto created = sparectl({"create", "--exclusive", path}, &directory); !created) {
      return created.error().code == sparectl_exists ? spare::Error{directory, sparectl_exists} : created.error();
    }
    auto dir = locked(directory, path);
    if (!dir) {
      ::rmdir(directory.c_str());  // nobody else's: it was made here, and has nothing in it
    }
    return dir;
  }

  static Result<void> remove_left_behind(const std::string& path, const std::string& directory) {
    const auto dir = locked(directory, path);
    if (!dir) {
      return dir.error();
    }
    if (::fgetxattr(dir->get(), wrapper_mark, nullptr, 0) < 0) {
      return spare::Error{fmt::format("the cgroup {} is there already, and no spare-qemu has made it: choose another with --spare-cgroup, or "
                                      "end and remove it with `sparectl remove --force {}`", path, path)};
    }
    const auto limit = std::chrono::steady_clock::now() + dying_limit;
    while (is_populated(dir->get())) {
      if (std::chrono::steady_clock::now() > limit) {
        const auto processes = processes_in(dir->get());
        return spare::Error{fmt::format("a guest whose spare-qemu was killed still runs in the cgroup {}, {}: end it, or give this guest another "
                                        "-name or --spare-cgroup", path,
                                        processes.empty() ? "in one below it" : fmt::format("pid {}", processes.front()))};
      }
      std::this_thread::sleep_for(dying_pause);
    }
    auto removed = sparectl({"remove", "--force", path});
    return removed ? Result<void>() : removed.error();
  }

  Fd dir_;
  std::string path_;
};

std::string default_cgroup(const Options& options) {
  std::string name = guest_name(options.qemu);
  if (name.empty()) {
    name = fmt::format("qemu-{}", ::getpid());
  }
  std::replace(name.begin(), name.end(), '/', '_');
  return "/vm/" + name;
}

Result<void> configure(const Options& options, const GuestCgroup& cgroup) {
  std::vector<std::string> words = {"set", cgroup.path(), "--reservation", options.reservation};
  const auto add = [&](const char* option, const std::string& value) {
    if (!value.empty()) {
      words.insert(words.end(), {option, value});
    }
  };
  add("--cpus", options.cpus);
  add("--use", options.use);
  add("--policy", options.policy);
  add("--net-max", options.net_max);
  auto set = sparectl(words);
  return set ? Result<void>() : set.error();
}

// QEMU has put itself into the background: so does the wrapper, to remove the cgroup when it ends.
void keep_in_background(const GuestCgroup& cgroup, TapBinder& taps) {
  if (::fork() != 0) {
    return;
  }
  ::setsid();
  const Fd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
  for (const int standard : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    ::dup2(null.get(), standard);
  }
  wait_until([&] { return !cgroup.populated(); }, [&](int signal) { cgroup.signal(signal); }, taps.watch());
  cgroup.remove();
  std::exit(0);
}

int run(const Options& options) {
  const bool asks = only_asks(options.qemu);
  if (options.reservation.empty() && !asks) {
    complain("this guest runs without a reservation: none was asked for (--spare-reservation, SPARE_RESERVATION)");
  }
  if (options.reservation.empty() || asks) {
    complain(become(options.binary, options.qemu).text);
    return exit_wrapper_failed;
  }
  if (const auto unseen = unseen_networks(options.qemu); !unseen.empty()) {
    complain(fmt::format("packets by way of {} are not seen, and get no spare bandwidth: only taps and macvtaps are watched", fmt::join(unseen, ", ")));
  }
  block_signals();
  const auto cgroup = GuestCgroup::make(options.cgroup.empty() ? default_cgroup(options) : options.cgroup);
  if (!cgroup) {
    complain(cgroup.error().text);
    return exit_wrapper_failed;
  }
  const auto give_up = [&](const std::string& why) {
    complain(why);
    cgroup->remove();
    return exit_wrapper_failed;
  };
  if (auto configured = configure(options, *cgroup); !configured) {
    return give_up(configured.error().text);
  }
  TapBinder taps(cgroup->dir(), cgroup->path(), tap_names(options.qemu), [&] { return cgroup->processes(); }, complain);
  const auto qemu = start_in_cgroup(cgroup->dir(), options.binary, options.qemu);
  if (!qemu) {
    return give_up(qemu.error().text);
  }
  const int status = wait_for(*qemu, taps.watch());
  if (has_flag(options.qemu, "daemonize") && WIFEXITED(status) && WEXITSTATUS(status) == 0 && cgroup->populated()) {
    keep_in_background(*cgroup, taps);
  } else {
    cgroup->remove();
  }
  end_like(status);
}

}  // namespace
}  // namespace spare_qemu

int main(int argc, char** argv) {
  const spare_qemu::Parsed parsed = spare_qemu::parse_options(argc, argv);
  if (parsed.exit) {
    return *parsed.exit;
  }
  return spare_qemu::run(parsed.options);
}
