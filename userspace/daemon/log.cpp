// SPDX-License-Identifier: GPL-2.0-only
#include "log.hpp"

#include <fmt/format.h>
#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <iterator>
#include <string>
#include <string_view>

#include "util/files.hpp"

namespace spare {
namespace {

void append(spdlog::memory_buf_t& to, std::string_view text) { to.append(text.data(), text.data() + text.size()); }

// "<4>"
class JournalPriority : public spdlog::custom_flag_formatter {
 public:
  void format(const spdlog::details::log_msg& message, const std::tm&, spdlog::memory_buf_t& to) override {
    constexpr std::string_view priorities[] = {"<7>", "<7>", "<6>", "<4>", "<3>", "<2>", "<6>"};  // trace ... critical, off
    append(to, priorities[std::min<size_t>(message.level, std::size(priorities) - 1)]);
  }
  [[nodiscard]] std::unique_ptr<custom_flag_formatter> clone() const override { return std::make_unique<JournalPriority>(); }
};

// Cgroups' and devices' names, which tenants choose, are in many a message.
class PrintableMessage : public spdlog::custom_flag_formatter {
 public:
  void format(const spdlog::details::log_msg& message, const std::tm&, spdlog::memory_buf_t& to) override {
    append(to, printable_lines({message.payload.data(), message.payload.size()}));
  }
  [[nodiscard]] std::unique_ptr<custom_flag_formatter> clone() const override { return std::make_unique<PrintableMessage>(); }
};

// What systemd.exec(5) has put into the environment is of the file to which it has connected standard error: that may be another one by now.
bool logs_to_journal() {
  const char* stream = std::getenv("JOURNAL_STREAM");
  struct stat file {};
  return stream != nullptr && ::fstat(STDERR_FILENO, &file) == 0 && fmt::format("{}:{}", file.st_dev, file.st_ino) == stream;
}

}  // namespace

std::unique_ptr<spdlog::formatter> log_formatter(bool to_journal) {
  auto formatter = std::make_unique<spdlog::pattern_formatter>();
  // The journal adds time and name itself.
  formatter->add_flag<JournalPriority>('*').add_flag<PrintableMessage>('v').set_pattern(to_journal ? "%*%l: %v" : "spared: %l: %v");
  return formatter;
}

void set_up_log(bool verbose) {
  auto logger = spdlog::stderr_logger_st("spared");
  logger->set_formatter(log_formatter(logs_to_journal()));
  logger->set_level(verbose ? spdlog::level::debug : spdlog::level::info);
  logger->flush_on(spdlog::level::trace);
  spdlog::set_default_logger(std::move(logger));
}

}  // namespace spare
