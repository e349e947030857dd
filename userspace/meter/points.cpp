// SPDX-License-Identifier: GPL-2.0-only
#include "points.hpp"

#include <fmt/format.h>

namespace spare {
namespace {

constexpr MeterPoint all_points[] = {
    {"meter_switch", true, "sched_switch", "", "everything"},
    {"meter_softirq_exit", true, "softirq_exit", "", "softirq: it is in the bill of the thread that it interrupts"},
    {"meter_softirq_enter", true, "softirq_entry", "", "softirq: it is in the bill of the thread that it interrupts"},
    {"meter_irq_exit", true, "irq_handler_exit", "", "hard interrupts: they are in the bill of what they interrupt"},
    {"meter_irq_enter", true, "irq_handler_entry", "", "hard interrupts: they are in the bill of what they interrupt"},
    {"meter_timer_exit", true, "local_timer_exit", "", "the timer's interrupts: they are in the bill of what they interrupt"},
    {"meter_timer_enter", true, "local_timer_entry", "", "the timer's interrupts: they are in the bill of what they interrupt"},
    {"meter_call_exit", true, "call_function_single_exit", "", "what other CPUs ask for by interrupt: it is in the bill of what it interrupts"},
    {"meter_call_enter", true, "call_function_single_entry", "", "what other CPUs ask for by interrupt: it is in the bill of what it interrupts"},
    {"meter_sent", true, "net_dev_xmit", "", "softirq to VMs: it is in the host network's bill"},
    {"meter_host_ip", false, "ip_local_deliver", "", "the host's own IP packets in softirq: those before a VM's packet are in the VM's bill"},
    {"meter_host_ip6", false, "ip6_input", "", "the host's own IPv6 packets in softirq: those before a VM's packet are in the VM's bill"},
    {"meter_host_arp", false, "arp_rcv", "", "the host's own ARP packets in softirq: those before a VM's packet are in the VM's bill"},
    {"meter_packet", true, "netif_receive_skb", "", "what VMs whose taps have RPS or IFF_NAPI send: its softirq is in the bill of who receives it", nullptr, true},
    {"meter_dropped", false, "spare_guard_drops", "sched_spare", "packets that a limit drops (spare.net.max): their softirq is in the host network's bill", nullptr, false, true},
    {"meter_guest_enter", true, "kvm_entry", "kvm", "vCPUs: their threads count as the emulator's, and VMs without vhost are not found"},
    {"meter_guest_exit", true, "kvm_exit", "kvm", "vCPUs: what they do on the host counts as the guest's"},
    {"meter_vhost", false, "vhost_run_work_list", "vhost", "vhost: its threads count as the VM's kernel threads", nullptr, false, false, true},
    {"meter_vhost_rx", false, "handle_rx", "vhost_net", "vhost: its threads count as the VM's kernel threads", "meter_vhost", false, false, true},
    {"meter_vhost_tx", false, "handle_tx", "vhost_net", "vhost: its threads count as the VM's kernel threads", "meter_vhost", false, false, true},
    {"meter_iothread", false, "eventfd_read", "", "iothreads: they count as the emulator's"},
};

}  // namespace

std::string MeterPoint::name() const { return fmt::format("{} {}", tracepoint ? "tracepoint" : "function", target); }

std::span<const MeterPoint> meter_points() { return all_points; }

}  // namespace spare
