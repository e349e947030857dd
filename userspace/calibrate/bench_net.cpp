// SPDX-License-Identifier: GPL-2.0-only
#include "bench_net.hpp"

#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netlink/errno.h>
#include <netlink/msg.h>
#include <netlink/netlink.h>
#include <netlink/route/link.h>
#include <netlink/route/link/bridge.h>
#include <netlink/route/link/veth.h>
#include <netlink/route/neighbour.h>
#include <netlink/socket.h>
#include <sched.h>
#include <unistd.h>

#include <fstream>
#include <string>

namespace spare {
namespace {

constexpr std::uint32_t segments_most = 65535;

Result<void> checked(int status, const std::string& what) {
  return status < 0 ? Result<void>(Error{what + ": " + nl_geterror(status)}) : Result<void>();
}

// Else the kernel sends neighbour discovery and the like.
void no_ipv6(const std::string& device) { std::ofstream("/proc/sys/net/ipv6/conf/" + device + "/disable_ipv6") << '1'; }

using LinkPtr = std::unique_ptr<rtnl_link, void (*)(rtnl_link*)>;
LinkPtr new_link(const char* name) {
  LinkPtr link(rtnl_link_alloc(), rtnl_link_put);
  rtnl_link_set_name(link.get(), name);
  return link;
}

}  // namespace

void BenchNet::Close::operator()(nl_sock* socket) const { nl_socket_free(socket); }

Result<BenchNet> BenchNet::make() {
  BenchNet net;
  if (::unshare(CLONE_NEWNET) != 0) {
    return errno_error("a network namespace");
  }
  net.socket_.reset(nl_socket_alloc());
  if (!net.socket_ || nl_connect(net.socket_.get(), NETLINK_ROUTE) < 0) {
    return Error{"rtnetlink: no socket"};
  }
  if (auto made = net.make_links(); !made) {
    return made.error();
  }
  return net;
}

Result<void> BenchNet::make_links() {
  std::ofstream("/proc/sys/net/ipv6/conf/default/disable_ipv6") << '1';
  if (auto made = checked(rtnl_link_bridge_add(socket_.get(), bridge), "a bridge (modprobe bridge?)"); !made) {
    return made;
  }
  if (auto made = checked(rtnl_link_veth_add(socket_.get(), wire, nic, ::getpid()), "a veth (modprobe veth?)"); !made) {
    return made;
  }
  const LinkPtr dummy = new_link(sink);
  rtnl_link_set_type(dummy.get(), "dummy");
  if (auto made = checked(rtnl_link_add(socket_.get(), dummy.get(), NLM_F_CREATE | NLM_F_EXCL), "a dummy (modprobe dummy?)"); !made) {
    return made;
  }
  for (const char* name : {bridge, nic, wire, sink}) {
    no_ipv6(name);
    const LinkPtr which = new_link(name), up = new_link(name);
    rtnl_link_set_flags(up.get(), IFF_UP);
    if (auto set = checked(rtnl_link_change(socket_.get(), which.get(), up.get(), 0), std::string(name) + " up"); !set) {
      return set;
    }
  }
  for (const char* name : {nic, sink}) {
    if (auto put = enslave(name); !put) {
      return put;
    }
  }
  return lives_at(wire_mac, sink);
}

Result<void> BenchNet::enslave(const char* name) {
  return checked(rtnl_link_enslave_ifindex(socket_.get(), static_cast<int>(::if_nametoindex(bridge)), static_cast<int>(::if_nametoindex(name))),
                 std::string(name) + " in a bridge");
}

// bridge fdb add MAC dev DEVICE master static
Result<void> BenchNet::lives_at(const Mac& mac, const char* device) {
  const std::unique_ptr<rtnl_neigh, void (*)(rtnl_neigh*)> entry(rtnl_neigh_alloc(), rtnl_neigh_put);
  const std::unique_ptr<nl_addr, void (*)(nl_addr*)> address(nl_addr_build(AF_LLC, mac.data(), mac.size()), nl_addr_put);
  rtnl_neigh_set_family(entry.get(), AF_BRIDGE);
  rtnl_neigh_set_ifindex(entry.get(), static_cast<int>(::if_nametoindex(device)));
  rtnl_neigh_set_lladdr(entry.get(), address.get());
  rtnl_neigh_set_state(entry.get(), NUD_NOARP);
  rtnl_neigh_set_flags(entry.get(), NTF_MASTER);
  return checked(rtnl_neigh_add(socket_.get(), entry.get(), NLM_F_CREATE | NLM_F_REPLACE), std::string("address of ") + device);
}

Result<void> BenchNet::attach(const std::string& tap) {
  no_ipv6(tap);
  auto put = enslave(tap.c_str());
  return put ? lives_at(guest_mac, tap.c_str()) : put;
}

Result<void> BenchNet::let_pass_whole(bool whole) {
  const std::unique_ptr<nl_msg, void (*)(nl_msg*)> message(nlmsg_alloc_simple(RTM_NEWLINK, 0), nlmsg_free);
  ifinfomsg which{};
  which.ifi_index = static_cast<int>(::if_nametoindex(wire));
  if (!message || nlmsg_append(message.get(), &which, sizeof(which), NLMSG_ALIGNTO) < 0 ||
      nla_put_u32(message.get(), IFLA_GSO_MAX_SEGS, whole ? segments_most : 1) < 0) {
    return Error{"rtnetlink: no message"};
  }
  nl_complete_msg(socket_.get(), message.get());
  if (auto sent = checked(nl_send(socket_.get(), message.get()), "gso_max_segs"); !sent) {
    return sent;
  }
  return checked(nl_wait_for_ack(socket_.get()), "gso_max_segs");
}

}  // namespace spare
