// SPDX-License-Identifier: GPL-2.0-only
#include "metrics/metrics.hpp"

#include <spdlog/spdlog.h>

#include <algorithm>

#include "metrics/families.hpp"
#include "metrics/textfile.hpp"

namespace spare {

void Metrics::configure(const MetricsConfig& config) {
  const bool same = config.listen == config_.listen && config.group == config_.group;
  if (!config_.textfile.empty() && config_.textfile != config.textfile) {
    remove_file(config_.textfile);  // else node_exporter tells what was for ever
  }
  config_ = config;
  textfile_due_ = Clock::now();
  if (!same) {
    socket_.reset();
    socket_due_ = Clock::now();
  }
}

Metrics::Clock::time_point Metrics::next() const {
  auto next = Clock::time_point::max();
  if (config_.listen) {
    next = socket_ ? socket_->next() : socket_due_;
  }
  return config_.textfile.empty() ? next : std::min(next, textfile_due_);
}

void Metrics::turn() {
  const auto now = Clock::now();
  if (config_.listen && !socket_ && now >= socket_due_) {
    open_socket();
  }
  if (!config_.textfile.empty() && now >= textfile_due_) {
    textfile_due_ = now + std::chrono::microseconds(config_.interval_us);
    complain(textfile_mistake_, replace_file(config_.textfile, *page()));
  }
  if (socket_) {
    socket_->turn([this] { return page(); });
  }
}

void Metrics::open_socket() {
  socket_due_ = Clock::now() + retry;
  auto opened = ScrapeSocket::open(*config_.listen, config_.group);
  complain(socket_mistake_, opened ? Result<void>() : Result<void>(opened.error()));
  if (opened) {
    socket_.emplace(std::move(*opened));
    spdlog::info("metrics at {}", config_.listen->text());
  }
}

ScrapeSocket::Page Metrics::page() {
  const auto began = Clock::now();
  if (!page_ || began >= fresh_until_) {
    Snapshot now = look_();
    now.seconds = std::chrono::duration<double>(Clock::now() - began).count();
    page_ = std::make_shared<const std::string>(as_text(families_of(now)));
    const auto ended = Clock::now();
    fresh_until_ = ended + std::max<Clock::duration>(rest * (ended - began), fresh);
  }
  return page_;
}

void Metrics::complain(std::string& before, const Result<void>& result) const {
  const std::string text = result ? "" : result.error().text;
  if (text != before && !text.empty()) {
    spdlog::error("metrics: {}", text);
  }
  before = text;
}

}  // namespace spare
