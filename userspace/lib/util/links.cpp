// SPDX-License-Identifier: GPL-2.0-only
#include "util/links.hpp"

#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <netlink/attr.h>
#include <netlink/cache.h>
#include <netlink/msg.h>
#include <netlink/netlink.h>
#include <netlink/route/link.h>
#include <netlink/socket.h>

#include <cstring>
#include <string_view>

namespace spare {
namespace {

void look_at(nl_object* object, void* links) {
  auto* link = reinterpret_cast<rtnl_link*>(object);
  const char *type = rtnl_link_get_type(link), *name = rtnl_link_get_name(link);
  const std::string_view kind = type ? type : "";
  if (kind == "tun" || kind == "macvtap") {
    static_cast<std::vector<Link>*>(links)->push_back(
        {rtnl_link_get_ifindex(link), name ? name : "", rtnl_link_get_carrier(link) != 0, nl_object_get_msgtype(object) == RTM_DELLINK});
  }
}

int parse(nl_msg* message, void* links) {
  nl_msg_parse(message, look_at, links);
  return NL_OK;
}

int count(nl_msg* message, void* all) {
  nlmsghdr* header = nlmsg_hdr(message);
  const auto* link = static_cast<const if_stats_msg*>(nlmsg_data(header));
  const nlattr* found = nlmsg_find_attr(header, sizeof(*link), IFLA_STATS_LINK_64);
  if (found != nullptr && nla_len(found) >= static_cast<int>(sizeof(rtnl_link_stats64))) {
    rtnl_link_stats64 stats{};
    std::memcpy(&stats, nla_data(found), sizeof(stats));
    (*static_cast<std::map<std::uint32_t, LinkCounters>*>(all))[link->ifindex] = {stats.rx_packets, stats.rx_bytes, stats.tx_packets, stats.tx_bytes};
  }
  return NL_OK;
}

}  // namespace

void TapEvents::Close::operator()(nl_sock* socket) const { nl_socket_free(socket); }

TapEvents::TapEvents() : socket_(nl_socket_alloc()) {
  if (!socket_) {
    return;
  }
  nl_socket_disable_seq_check(socket_.get());
  if (nl_connect(socket_.get(), NETLINK_ROUTE) < 0 || nl_socket_add_memberships(socket_.get(), RTNLGRP_LINK, 0) < 0 ||
      nl_socket_set_nonblocking(socket_.get()) < 0) {
    socket_.reset();
  }
}

int TapEvents::fd() const { return socket_ ? nl_socket_get_fd(socket_.get()) : -1; }

std::optional<std::vector<Link>> TapEvents::drain() {
  if (!socket_) {
    return std::nullopt;
  }
  std::vector<Link> links;
  nl_socket_modify_cb(socket_.get(), NL_CB_VALID, NL_CB_CUSTOM, parse, &links);
  int status = 0;
  while ((status = nl_recvmsgs_default(socket_.get())) >= 0) {
  }
  return status == -NLE_AGAIN ? std::optional(std::move(links)) : std::nullopt;
}

std::optional<std::map<std::uint32_t, LinkCounters>> link_counters() {
  const std::unique_ptr<nl_sock, void (*)(nl_sock*)> socket(nl_socket_alloc(), nl_socket_free);
  std::map<std::uint32_t, LinkCounters> all;
  if_stats_msg wanted{};
  wanted.filter_mask = IFLA_STATS_FILTER_BIT(IFLA_STATS_LINK_64);
  if (!socket || nl_connect(socket.get(), NETLINK_ROUTE) < 0 || nl_socket_modify_cb(socket.get(), NL_CB_VALID, NL_CB_CUSTOM, count, &all) < 0 ||
      nl_send_simple(socket.get(), RTM_GETSTATS, NLM_F_DUMP, &wanted, sizeof(wanted)) < 0 || nl_recvmsgs_default(socket.get()) < 0) {
    return std::nullopt;
  }
  return all;
}

std::optional<std::vector<Link>> TapEvents::all() {
  const std::unique_ptr<nl_sock, Close> socket(nl_socket_alloc());
  nl_cache* cache = nullptr;
  if (!socket || nl_connect(socket.get(), NETLINK_ROUTE) < 0 || rtnl_link_alloc_cache(socket.get(), AF_UNSPEC, &cache) < 0) {
    return std::nullopt;
  }
  std::vector<Link> links;
  nl_cache_foreach(cache, look_at, &links);
  nl_cache_free(cache);
  return links;
}

}  // namespace spare
