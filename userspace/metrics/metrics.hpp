// SPDX-License-Identifier: GPL-2.0-only
//
// Metrics for Prometheus: answered at a socket, written into a file for node_exporter, as spared.toml(5) says.
//
// They are made in the daemon's loop, when somebody asks or the file is due, and not by a thread: what is read belongs to that loop, it waits for
// nobody, and a pass takes longer. What was made is given to all who ask within a second, or within fifty times as long as it took if that is more: 2 %
// of a CPU, however often tenants ask.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "config.hpp"
#include "metrics/scrape_socket.hpp"
#include "metrics/snapshot.hpp"

namespace spare {

class Metrics {
 public:
  using Clock = std::chrono::steady_clock;
  static constexpr std::chrono::seconds fresh{1}, retry{5};
  static constexpr int rest = 50;

  explicit Metrics(std::function<Snapshot()> look) : look_(std::move(look)) {}

  // In force with the next turn(). What cannot be had, as a port that is taken, is said in the log and tried again.
  void configure(const MetricsConfig& config);
  // Readable when turn() has something to do; -1: no such thing.
  [[nodiscard]] int fd() const { return socket_ ? socket_->fd() : -1; }
  [[nodiscard]] Clock::time_point next() const;
  void turn();

 private:
  void open_socket();
  ScrapeSocket::Page page();
  void complain(std::string& before, const Result<void>& result) const;

  std::function<Snapshot()> look_;
  MetricsConfig config_;
  std::optional<ScrapeSocket> socket_;
  ScrapeSocket::Page page_;
  Clock::time_point fresh_until_, socket_due_, textfile_due_;
  std::string socket_mistake_, textfile_mistake_;  // each is said once
};

}  // namespace spare
