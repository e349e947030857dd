// SPDX-License-Identifier: GPL-2.0-only
#include "tool.hpp"

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/wait.h>

#include <array>
#include <cstdlib>
#include <filesystem>

#include "util/fd.hpp"
#include "util/files.hpp"

namespace spare_qemu {
namespace {

namespace fs = std::filesystem;

// The sparectl beside this program, else the one in PATH.
std::string tool_path() {
  if (const char* given = std::getenv("SPARE_SPARECTL")) {
    return given;
  }
  std::error_code failed;
  const fs::path beside = fs::canonical("/proc/self/exe", failed).parent_path() / "sparectl";
  return !failed && fs::exists(beside, failed) ? beside.string() : "sparectl";
}

struct Pipe {
  spare::Fd read, write;

  static Pipe make() {
    int ends[2] = {-1, -1};
    static_cast<void>(::pipe2(ends, O_CLOEXEC) == 0);
    return {spare::Fd(ends[0]), spare::Fd(ends[1])};
  }
};

// Reads both until both are closed.
void drain(const spare::Fd& first, std::string& to_first, const spare::Fd& second, std::string& to_second) {
  std::array<pollfd, 2> fds = {{{first.get(), POLLIN, 0}, {second.get(), POLLIN, 0}}};
  const std::array<std::string*, 2> texts = {&to_first, &to_second};
  std::array<char, 4096> buffer;
  while (fds[0].fd >= 0 || fds[1].fd >= 0) {
    if (::poll(fds.data(), fds.size(), -1) < 0 && errno != EINTR) {
      return;
    }
    for (size_t i = 0; i < fds.size(); i++) {
      if (fds[i].fd < 0 || fds[i].revents == 0) {
        continue;
      }
      const ssize_t n = ::read(fds[i].fd, buffer.data(), buffer.size());
      if (n > 0) {
        texts[i]->append(buffer.data(), static_cast<size_t>(n));
      } else {
        fds[i].fd = -1;
      }
    }
  }
}

}  // namespace

spare::Result<std::string> sparectl(const std::vector<std::string>& words, std::string* output_text) {
  const std::string program = tool_path();
  std::vector<char*> argv = {const_cast<char*>(program.c_str())};
  for (const std::string& word : words) {
    argv.push_back(const_cast<char*>(word.c_str()));
  }
  argv.push_back(nullptr);

  Pipe output = Pipe::make(), complaints = Pipe::make();
  if (!output.read || !complaints.read) {
    return spare::errno_error("pipe");
  }
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, output.write.get(), STDOUT_FILENO);
  posix_spawn_file_actions_adddup2(&actions, complaints.write.get(), STDERR_FILENO);
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  // What the terminal sends is for the wrapper, and the signals that it has blocked stay so: systemd sends SIGTERM to all that is left of a
  // unit whose main process, QEMU, has ended, and would end the removal of the cgroup. Nothing is left half done.
  posix_spawnattr_setpgroup(&attributes, 0);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP);
  pid_t pid = -1;
  const int failed = ::posix_spawnp(&pid, program.c_str(), &actions, &attributes, argv.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  posix_spawnattr_destroy(&attributes);
  if (failed != 0) {
    return spare::errno_error("cannot run " + program, failed);
  }
  output.write.reset();
  complaints.write.reset();
  std::string text, complaint;
  drain(output.read, text, complaints.read, complaint);
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  if (output_text != nullptr) {
    *output_text = spare::trim(text);
  }
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
    const std::string said(spare::trim(complaint));
    return spare::Error{said.empty() ? program + " " + words[0] + " failed" : said, WIFEXITED(status) ? WEXITSTATUS(status) : 0};
  }
  return std::string(spare::trim(text));
}

}  // namespace spare_qemu
