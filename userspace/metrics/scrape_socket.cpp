// SPDX-License-Identifier: GPL-2.0-only
#include "metrics/scrape_socket.hpp"

#include <fmt/format.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <utility>

namespace spare {
namespace {

constexpr const char* page_type = "text/plain; version=0.0.4; charset=utf-8";

std::string head(const char* status, size_t length) {
  return fmt::format("HTTP/1.1 {}\r\nContent-Type: {}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", status, page_type, length);
}

// Of "GET /metrics HTTP/1.1": the status.
const char* status_of(std::string_view request) {
  const std::string_view line = request.substr(0, request.find('\n'));
  const size_t space = line.find(' ');
  const std::string_view target = space == std::string_view::npos ? "" : line.substr(space + 1);
  if (!line.starts_with("GET ")) {
    return "405 Method Not Allowed";
  }
  constexpr std::string_view path = "/metrics";
  const bool found = target.starts_with(path) && target.size() > path.size() && (target[path.size()] == ' ' || target[path.size()] == '?');
  return found ? nullptr : "404 Not Found";
}

bool would_block() { return errno == EAGAIN || errno == EINTR; }

}  // namespace

Result<ScrapeSocket> ScrapeSocket::open(const Endpoint& endpoint, const std::string& group) {
  auto listener = listen_at(endpoint, group);
  if (!listener) {
    return listener.error();
  }
  ScrapeSocket opened(endpoint, std::move(*listener), Fd(::epoll_create1(EPOLL_CLOEXEC)));
  if (!opened.epoll_ || !opened.watch(opened.listener_.get(), false, EPOLL_CTL_ADD)) {
    return errno_error("epoll");
  }
  return opened;
}

ScrapeSocket::~ScrapeSocket() {
  if (listener_ && !endpoint_.path.empty()) {
    ::unlink(endpoint_.path.c_str());
  }
}

bool ScrapeSocket::watch(int fd, bool writing, int operation) const {
  epoll_event event{};
  event.events = writing ? EPOLLOUT : EPOLLIN;
  event.data.fd = fd;
  return ::epoll_ctl(epoll_.get(), operation, fd, &event) == 0;
}

ScrapeSocket::Clock::time_point ScrapeSocket::next() const {
  if (Clock::now() < rested_) {
    return rested_;
  }
  auto next = Clock::time_point::max();
  for (const auto& [fd, connection] : connections_) {
    next = std::min(next, connection.late);
  }
  return next;
}

void ScrapeSocket::accept_some() {
  for (size_t i = 0; i < connections_most; i++) {
    Fd socket(::accept4(listener_.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (!socket) {
      return;
    }
    if (connections_.size() >= connections_most) {
      // Who has asked stays longer than who is silent.
      const auto before = [](const auto& a, const auto& b) {
        return std::pair(a.second.head != nullptr, a.second.late) < std::pair(b.second.head != nullptr, b.second.late);
      };
      connections_.erase(std::min_element(connections_.begin(), connections_.end(), before));
    }
    const int fd = socket.get();
    if (watch(fd, false, EPOLL_CTL_ADD)) {
      connections_.insert_or_assign(fd, Connection{std::move(socket), Clock::now() + patience, {}, {}, {}, 0});
    }
  }
}

bool ScrapeSocket::serve(Connection& connection, const std::function<Page()>& page) {
  std::array<char, request_most> buffer;
  while (!connection.head) {
    const ssize_t n = ::recv(connection.socket.get(), buffer.data(), buffer.size(), 0);
    if (n <= 0) {
      return n < 0 && would_block();
    }
    connection.request.append(buffer.data(), static_cast<size_t>(n));
    const bool whole = connection.request.find("\r\n\r\n") != std::string::npos;
    if (!whole && connection.request.size() < request_most) {
      continue;
    }
    const char* refusal = whole ? status_of(connection.request) : "431 Request Header Fields Too Large";
    connection.body = refusal == nullptr ? page() : std::make_shared<const std::string>();
    connection.head = std::make_shared<const std::string>(head(refusal == nullptr ? "200 OK" : refusal, connection.body->size()));
    watch(connection.socket.get(), true, EPOLL_CTL_MOD);
  }
  const auto part = [&]() {
    const size_t before = connection.head->size();
    return connection.sent < before ? std::string_view(*connection.head).substr(connection.sent)
                                    : std::string_view(*connection.body).substr(connection.sent - before);
  };
  for (std::string_view left = part(); !left.empty(); left = part()) {
    const ssize_t n = ::send(connection.socket.get(), left.data(), left.size(), MSG_NOSIGNAL);
    if (n < 0) {
      return would_block();
    }
    connection.sent += static_cast<size_t>(n);
  }
  return false;
}

void ScrapeSocket::turn(const std::function<Page()>& page) {
  const auto began = Clock::now();
  if (began < rested_) {
    return;
  }
  Clock::duration making{};
  const auto timed_page = [&] {
    const auto before = Clock::now();
    auto made = page();
    making += Clock::now() - before;
    return made;
  };
  std::array<epoll_event, connections_most + 1> events;
  const int count = ::epoll_wait(epoll_.get(), events.data(), static_cast<int>(events.size()), 0);
  for (int i = 0; i < count; i++) {
    const auto found = connections_.find(events[static_cast<size_t>(i)].data.fd);
    if (found != connections_.end() && !serve(found->second, timed_page)) {
      connections_.erase(found);
    }
  }
  accept_some();
  const auto now = Clock::now();
  std::erase_if(connections_, [&](const auto& entry) { return entry.second.late <= now; });
  if (count > 0) {
    rested_ = now + rest * (now - began - making);
  }
}

}  // namespace spare
