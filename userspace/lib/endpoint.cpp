// SPDX-License-Identifier: GPL-2.0-only
#include "endpoint.hpp"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <grp.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <charconv>

namespace spare {
namespace {

constexpr int backlog = 16;
constexpr const char* endpoint_form = "listen takes a port of this host alone, as \"127.0.0.1:9968\" or \"[::1]:9968\", or the path of a Unix socket, as "
                             "\"/run/sched_spare/metrics\"";

bool is_loopback(const std::string& address) {
  in_addr four{};
  in6_addr six{};
  return (::inet_pton(AF_INET, address.c_str(), &four) == 1 && ntohl(four.s_addr) >> 24 == 127) ||
         (::inet_pton(AF_INET6, address.c_str(), &six) == 1 && IN6_IS_ADDR_LOOPBACK(&six));
}

Result<Fd> bound(int family, const sockaddr* address, socklen_t size) {
  Fd socket(::socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  const int yes = 1;
  if (!socket || (family != AF_UNIX && ::setsockopt(socket.get(), SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes)) != 0) ||
      ::bind(socket.get(), address, size) != 0) {
    return errno_error("bind");
  }
  return socket;
}

Result<Fd> bound_port(const Endpoint& endpoint) {
  sockaddr_in four{};
  four.sin_family = AF_INET;
  four.sin_port = htons(endpoint.port);
  if (::inet_pton(AF_INET, endpoint.address.c_str(), &four.sin_addr) == 1) {
    return bound(AF_INET, reinterpret_cast<const sockaddr*>(&four), sizeof(four));
  }
  sockaddr_in6 six{};
  six.sin6_family = AF_INET6;
  six.sin6_port = htons(endpoint.port);
  ::inet_pton(AF_INET6, endpoint.address.c_str(), &six.sin6_addr);
  return bound(AF_INET6, reinterpret_cast<const sockaddr*>(&six), sizeof(six));
}

// Until the group is set it is root's.
Result<Fd> bound_path(const Endpoint& endpoint, const std::string& group) {
  const ::group* entry = group.empty() ? nullptr : ::getgrnam(group.c_str());
  if (!group.empty() && entry == nullptr) {
    return Error{"there is no group " + group, ENOENT};
  }
  struct stat there {};
  if (::lstat(endpoint.path.c_str(), &there) == 0) {
    if (!S_ISSOCK(there.st_mode)) {
      return Error{"there is a file of that name", EEXIST};
    }
    ::unlink(endpoint.path.c_str());  // that of a spared that was killed: there is one at a time
  }
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  endpoint.path.copy(address.sun_path, sizeof(address.sun_path) - 1);
  const mode_t mask = ::umask(entry != nullptr ? 0117 : 0177);
  auto socket = bound(AF_UNIX, reinterpret_cast<const sockaddr*>(&address), sizeof(address));
  ::umask(mask);
  if (socket && entry != nullptr && ::lchown(endpoint.path.c_str(), static_cast<uid_t>(-1), entry->gr_gid) != 0) {
    return errno_error("group " + group);
  }
  return socket;
}

}  // namespace

std::string Endpoint::text() const {
  if (!path.empty()) {
    return path;
  }
  return address.find(':') == std::string::npos ? fmt::format("{}:{}", address, port) : fmt::format("[{}]:{}", address, port);
}

Result<Endpoint> parse_endpoint(std::string_view text) {
  Endpoint endpoint;
  if (text.starts_with('/')) {
    endpoint.path = text;
    return text.size() < sizeof(sockaddr_un::sun_path) && text.find('\0') == std::string_view::npos
               ? Result<Endpoint>(endpoint)
               : Error{fmt::format("the path of a Unix socket has at most {} characters", sizeof(sockaddr_un::sun_path) - 1), EINVAL};
  }
  const size_t colon = text.rfind(':');
  if (colon == std::string_view::npos) {
    return Error{endpoint_form, EINVAL};
  }
  const std::string_view host = text.substr(0, colon), port = text.substr(colon + 1);
  const bool bracketed = host.size() > 2 && host.front() == '[' && host.back() == ']';
  endpoint.address = bracketed ? host.substr(1, host.size() - 2) : host;
  const auto [end, failed] = std::from_chars(port.data(), port.data() + port.size(), endpoint.port);
  const bool is_six = endpoint.address.find(':') != std::string::npos;
  if (failed != std::errc() || end != port.data() + port.size() || endpoint.port == 0 || is_six != bracketed || !is_loopback(endpoint.address)) {
    return Error{endpoint_form, EINVAL};
  }
  return endpoint;
}

Result<Fd> listen_at(const Endpoint& endpoint, const std::string& group) {
  auto socket = endpoint.path.empty() ? bound_port(endpoint) : bound_path(endpoint, group);
  if (!socket || ::listen(socket->get(), backlog) != 0) {
    return (socket ? errno_error("listen") : socket.error()).while_doing("cannot listen at " + endpoint.text());
  }
  return socket;
}

}  // namespace spare
