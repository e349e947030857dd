// SPDX-License-Identifier: GPL-2.0-only
#include "launch.hpp"

#include <fcntl.h>
#include <linux/sched.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdint>
#include <cstdlib>
#include <iterator>

#include "util/fd.hpp"

namespace spare_qemu {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds first_pause{100};
constexpr int exit_not_started = 127;

sigset_t handled_signals() {
  sigset_t signals;
  sigemptyset(&signals);
  for (const int signal : {SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGALRM, SIGWINCH, SIGCONT, SIGCHLD}) {
    sigaddset(&signals, signal);
  }
  return signals;
}

std::vector<char*> argument_vector(const std::string& program, const std::vector<std::string>& arguments) {
  std::vector<char*> argv = {const_cast<char*>(program.c_str())};
  for (const std::string& word : arguments) {
    argv.push_back(const_cast<char*>(word.c_str()));
  }
  argv.push_back(nullptr);
  return argv;
}

// fork() into a cgroup: the child is accounted there from its first instruction.
pid_t fork_into(int cgroup_dir) {
  clone_args arguments{};
  arguments.flags = CLONE_INTO_CGROUP;
  arguments.exit_signal = SIGCHLD;
  arguments.cgroup = static_cast<std::uint64_t>(cgroup_dir);
  return static_cast<pid_t>(::syscall(SYS_clone3, &arguments, sizeof(arguments)));
}

// Until `done`, asked after each signal and at least so often.
void attend(const std::function<bool()>& done, const std::function<void(const signalfd_siginfo&)>& signalled, const Watch& watch,
            milliseconds often) {
  using clock = std::chrono::steady_clock;
  const sigset_t set = handled_signals();
  const spare::Fd signals(::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
  auto next = clock::now() + first_pause;
  while (!done()) {
    const auto left = std::max(std::chrono::ceil<milliseconds>(next - clock::now()), milliseconds::zero());
    pollfd ready[] = {{signals.get(), POLLIN, 0}, {watch.wake, POLLIN, 0}};
    ::poll(ready, std::size(ready), static_cast<int>(std::min(left, often).count()));
    signalfd_siginfo info{};
    while (::read(signals.get(), &info, sizeof(info)) == static_cast<ssize_t>(sizeof(info))) {
      if (info.ssi_signo != SIGCHLD) {
        signalled(info);
      }
    }
    if (ready[1].revents != 0 || clock::now() >= next) {
      next = clock::now() + watch.look();
    }
  }
}

}  // namespace

void block_signals() {
  std::signal(SIGCHLD, SIG_DFL);  // who started us may ignore it; then nobody's status would come back
  const sigset_t signals = handled_signals();
  sigprocmask(SIG_BLOCK, &signals, nullptr);
}

spare::Result<pid_t> start_in_cgroup(int cgroup_dir, const std::string& program, const std::vector<std::string>& arguments) {
  const auto argv = argument_vector(program, arguments);
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) {
    return spare::errno_error("pipe");
  }
  spare::Fd failure(ends[0]), report(ends[1]);  // carries the errno of a failed exec; closed by a good one
  const pid_t parent = ::getpid();
  const pid_t child = fork_into(cgroup_dir);
  if (child < 0) {
    return spare::errno_error("cannot start a process in the cgroup");
  }
  if (child == 0) {
    const sigset_t signals = handled_signals();
    sigprocmask(SIG_UNBLOCK, &signals, nullptr);
    ::prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (::getppid() == parent) {
      ::execvp(argv[0], argv.data());
    }
    const int code = errno;
    static_cast<void>(::write(report.get(), &code, sizeof(code)) == 0);
    ::_exit(exit_not_started);
  }
  report.reset();
  int code = 0;
  ssize_t n;
  do {
    n = ::read(failure.get(), &code, sizeof(code));
  } while (n < 0 && errno == EINTR);
  if (n == static_cast<ssize_t>(sizeof(code))) {
    ::waitpid(child, nullptr, 0);
    return spare::errno_error("cannot run " + program, code);
  }
  return child;
}

int wait_for(pid_t child, const Watch& watch) {
  int status = 0;
  attend([&] { return ::waitpid(child, &status, WNOHANG) == child; },
         [&](const signalfd_siginfo& info) {
           // What the terminal sends, it sends to the whole foreground group: QEMU has it already. But a hangup goes to the session's leader.
           if (info.ssi_code != SI_KERNEL || info.ssi_signo == SIGHUP) {
             ::kill(child, static_cast<int>(info.ssi_signo));
           }
         },
         watch, std::chrono::hours(1));
  return status;
}

void wait_until(const std::function<bool()>& done, const std::function<void(int)>& signalled, const Watch& watch) {
  attend(done, [&](const signalfd_siginfo& info) { signalled(static_cast<int>(info.ssi_signo)); }, watch, std::chrono::seconds(1));
}

void end_like(int wait_status) {
  if (!WIFSIGNALED(wait_status)) {
    std::exit(WEXITSTATUS(wait_status));
  }
  const int signal = WTERMSIG(wait_status);
  const rlimit no_core = {0, 0};  // the child has left its own
  ::setrlimit(RLIMIT_CORE, &no_core);
  std::signal(signal, SIG_DFL);
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, signal);
  ::raise(signal);
  sigprocmask(SIG_UNBLOCK, &set, nullptr);
  std::exit(128 + signal);
}

spare::Error become(const std::string& program, const std::vector<std::string>& arguments) {
  const auto argv = argument_vector(program, arguments);
  ::execvp(argv[0], argv.data());
  return spare::errno_error("cannot run " + program);
}

}  // namespace spare_qemu
