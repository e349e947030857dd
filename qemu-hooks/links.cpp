// SPDX-License-Identifier: GPL-2.0-only
#include "links.hpp"

#include <linux/rtnetlink.h>
#include <netlink/msg.h>
#include <netlink/netlink.h>
#include <netlink/route/link.h>
#include <netlink/socket.h>

#include <string_view>

namespace spare_qemu {
namespace {

void look_at(nl_object* object, void* seen) {
  const char* type = rtnl_link_get_type(reinterpret_cast<rtnl_link*>(object));
  const std::string_view kind = type ? type : "";
  if (kind == "tun" || kind == "macvtap") {
    *static_cast<bool*>(seen) = true;
  }
}

int parse(nl_msg* message, void* seen) {
  nl_msg_parse(message, look_at, seen);
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

bool TapEvents::drain() {
  if (!socket_) {
    return false;
  }
  bool seen = false;
  nl_socket_modify_cb(socket_.get(), NL_CB_VALID, NL_CB_CUSTOM, parse, &seen);
  int status = 0;
  while ((status = nl_recvmsgs_default(socket_.get())) >= 0) {
  }
  return seen || status != -NLE_AGAIN;  // anything else: some were lost
}

}  // namespace spare_qemu
