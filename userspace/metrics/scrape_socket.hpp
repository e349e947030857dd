// SPDX-License-Identifier: GPL-2.0-only
//
// Answers GET /metrics, in the daemon's own loop. Whoever may connect can neither stall nor fill the daemon: nothing waits, there are so many
// connections, so many bytes of a request, and so much time for each in all; who comes when all are taken replaces the oldest, of those that have not
// asked yet if there is one; and after its work it rests nine times as long. It understands the request's first line, and nothing else of HTTP: a
// library that does, in a process with the daemon's capabilities, would be the larger danger (and prometheus-cpp's own, civetweb, gives each
// connection one of two threads: two that are silent lock all others out).
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "endpoint.hpp"
#include "util/fd.hpp"

namespace spare {

class ScrapeSocket {
 public:
  using Clock = std::chrono::steady_clock;
  using Page = std::shared_ptr<const std::string>;

  static constexpr size_t connections_most = 16, request_most = 4096;
  static constexpr std::chrono::seconds patience{10};  // for a connection, from accept to the last byte: Prometheus has no more by itself
  static constexpr int rest = 9;                       // lengths of what was done, the making of the page left out

  static Result<ScrapeSocket> open(const Endpoint& endpoint, const std::string& group);
  ScrapeSocket(ScrapeSocket&&) noexcept = default;
  ScrapeSocket& operator=(ScrapeSocket&&) = delete;
  ~ScrapeSocket();

  // Readable when turn() has something to do; -1: while it rests.
  [[nodiscard]] int fd() const { return Clock::now() < rested_ ? -1 : epoll_.get(); }
  // When turn() is to be called at the latest.
  [[nodiscard]] Clock::time_point next() const;
  // Takes what has come and sends what can be sent; page: what is answered, asked for only when somebody has asked.
  void turn(const std::function<Page()>& page);

 private:
  struct Connection {
    Fd socket;
    Clock::time_point late;
    std::string request;
    Page head, body;  // once the request is whole
    size_t sent = 0;
  };

  ScrapeSocket(Endpoint endpoint, Fd listener, Fd epoll) : endpoint_(std::move(endpoint)), listener_(std::move(listener)), epoll_(std::move(epoll)) {}
  void accept_some();
  // False: the connection is done with.
  bool serve(Connection& connection, const std::function<Page()>& page);
  bool watch(int fd, bool writing, int operation) const;

  Endpoint endpoint_;
  Fd listener_, epoll_;
  std::map<int, Connection> connections_;  // by descriptor
  Clock::time_point rested_;
};

}  // namespace spare
