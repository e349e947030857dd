// SPDX-License-Identifier: GPL-2.0-only
#include "guest_nic.hpp"

#include <fcntl.h>
#include <net/if.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <utility>

// The functions of linux/virtio_ring.h, which linux/vhost.h includes, are no C++.
#define VIRTIO_RING_NO_LEGACY
#include <linux/if_tun.h>
#include <linux/vhost.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>

#include "frame.hpp"

// Of kernels from 6.2 on; older headers lack them.
#ifndef TUN_F_USO4
#define TUN_F_USO4 0x20
#define TUN_F_USO6 0x40
#endif

namespace spare {
namespace {

constexpr std::size_t ring_size = 16384, buffer_size = 2048, buffers_at = 6 * ring_size;
// linux/virtio_net.h, which is no C++
constexpr unsigned merges_buffers = 15;
constexpr std::size_t num_buffers_at = 10;

constexpr std::size_t frame_at(unsigned entries) { return buffers_at + entries * buffer_size; }
constexpr std::size_t memory_size(unsigned entries) { return frame_at(entries) + 2 * 65536; }

std::uint16_t load(const std::uint16_t& value) { return __atomic_load_n(&value, __ATOMIC_ACQUIRE); }

Result<void> set_up(const std::string& name) {
  ifreq request{};
  name.copy(request.ifr_name, IFNAMSIZ - 1);
  const Fd any(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!any || ::ioctl(any.get(), SIOCGIFFLAGS, &request) != 0) {
    return errno_error("flags of " + name);
  }
  request.ifr_flags = static_cast<short>(request.ifr_flags | IFF_UP);
  if (::ioctl(any.get(), SIOCSIFFLAGS, &request) != 0) {
    return errno_error(name + " cannot be set up");
  }
  return {};
}

}  // namespace

GuestNic::GuestNic(GuestNic&& other) noexcept
    : memory_(std::exchange(other.memory_, nullptr)), frame_size_(other.frame_size_), has_vhost_(other.has_vhost_), rx_(std::move(other.rx_)),
      tx_(std::move(other.tx_)), tap_(std::move(other.tap_)), vhost_(std::move(other.vhost_)), epoll_(std::move(other.epoll_)) {}

GuestNic::~GuestNic() {
  vhost_.reset();  // before what it works on
  if (memory_ != nullptr) {
    ::munmap(memory_, memory_size(entries));
  }
}

Result<GuestNic> GuestNic::open(const NicOptions& options) {
  GuestNic nic;
  void* memory = ::mmap(nullptr, memory_size(entries), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  if (memory == MAP_FAILED) {
    return errno_error("memory of a NIC");
  }
  nic.memory_ = static_cast<std::uint8_t*>(memory);
  nic.has_vhost_ = options.vhost;
  nic.epoll_ = Fd(::epoll_create1(EPOLL_CLOEXEC));
  if (auto made = nic.open_tap(options); !made) {
    return made.error();
  }
  if (options.vhost) {
    nic.lay_out();
    if (auto made = nic.open_vhost(); !made) {
      return made.error();
    }
  }
  // Of an eventfd its edge is enough: nothing is read.
  const int fd = options.vhost ? nic.rx_.call.get() : nic.tap_.get();
  epoll_event event{static_cast<std::uint32_t>(options.vhost ? EPOLLIN | EPOLLET : EPOLLIN), {}};
  if (!nic.epoll_ || ::epoll_ctl(nic.epoll_.get(), EPOLL_CTL_ADD, fd, &event) != 0) {
    return errno_error("epoll");
  }
  if (options.vhost) {
    kick(nic.rx_);
  }
  return nic;
}

Result<void> GuestNic::open_tap(const NicOptions& options) {
  ifreq request{};
  const int header = virtio_header;
  const unsigned offloads = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN;
  if (options.tap.empty() || options.tap.size() >= IFNAMSIZ) {
    return Error{"'" + options.tap + "' is no name of a tap", EINVAL};
  }
  tap_ = Fd(::open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC));
  request.ifr_flags = static_cast<short>(IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | (options.napi ? IFF_NAPI : 0));
  options.tap.copy(request.ifr_name, IFNAMSIZ - 1);
  if (!tap_) {
    return errno_error("/dev/net/tun");
  }
  if (::ioctl(tap_.get(), TUNSETIFF, &request) != 0 || ::ioctl(tap_.get(), TUNSETVNETHDRSZ, &header) != 0) {
    return errno_error("tap " + options.tap);
  }
  // As QEMU does it: with USO where the kernel has that.
  if (options.offloads && ::ioctl(tap_.get(), TUNSETOFFLOAD, offloads | TUN_F_USO4 | TUN_F_USO6) != 0 && ::ioctl(tap_.get(), TUNSETOFFLOAD, offloads) != 0) {
    return errno_error("offloads of tap " + options.tap);
  }
  return set_up(request.ifr_name);
}

void GuestNic::lay_out() {
  Queue* const queues[] = {&rx_, &tx_};
  for (std::size_t i = 0; i < 2; i++) {
    std::uint8_t* const at = memory_ + 3 * i * ring_size;
    queues[i]->desc = reinterpret_cast<vring_desc*>(at);
    queues[i]->avail = reinterpret_cast<vring_avail*>(at + ring_size);
    queues[i]->used = reinterpret_cast<vring_used*>(at + 2 * ring_size);
    queues[i]->kick = Fd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    queues[i]->call = Fd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  }
  for (unsigned i = 0; i < entries; i++) {
    rx_.desc[i] = {reinterpret_cast<std::uint64_t>(memory_ + buffers_at + i * buffer_size), static_cast<std::uint32_t>(buffer_size), VRING_DESC_F_WRITE, 0};
    post(rx_, static_cast<std::uint16_t>(i));
  }
  tx_.avail->flags = VRING_AVAIL_F_NO_INTERRUPT;
}

Result<void> GuestNic::open_vhost() {
  alignas(vhost_memory) std::uint8_t table[sizeof(vhost_memory) + sizeof(vhost_memory_region)] = {};
  const auto base = reinterpret_cast<std::uint64_t>(memory_);
  const vhost_memory_region all{base, memory_size(entries), base, 0};
  const std::uint32_t regions = 1;
  std::uint64_t features = 0;

  vhost_ = Fd(::open("/dev/vhost-net", O_RDWR | O_CLOEXEC));
  if (!vhost_) {
    return errno_error("/dev/vhost-net");
  }
  if (::ioctl(vhost_.get(), VHOST_SET_OWNER) != 0 || ::ioctl(vhost_.get(), VHOST_GET_FEATURES, &features) != 0) {
    return errno_error("vhost-net");
  }
  features &= 1ULL << VIRTIO_F_VERSION_1 | 1ULL << merges_buffers;
  std::memcpy(table, &regions, sizeof(regions));
  std::memcpy(table + sizeof(vhost_memory), &all, sizeof(all));
  if (::ioctl(vhost_.get(), VHOST_SET_FEATURES, &features) != 0 || ::ioctl(vhost_.get(), VHOST_SET_MEM_TABLE, table) != 0) {
    return errno_error("vhost-net's memory");
  }
  for (unsigned i = 0; i < 2; i++) {
    if (auto set = set_queue(i); !set) {
      return set;
    }
  }
  for (unsigned i = 0; i < 2; i++) {
    const vhost_vring_file backend{i, tap_.get()};
    if (::ioctl(vhost_.get(), VHOST_NET_SET_BACKEND, &backend) != 0) {
      return errno_error("VHOST_NET_SET_BACKEND");
    }
  }
  return {};
}

Result<void> GuestNic::set_queue(unsigned index) {
  const Queue& queue = index == 0 ? rx_ : tx_;
  const vhost_vring_state size{index, entries}, base{index, 0};
  const vhost_vring_addr address{index, 0, reinterpret_cast<std::uint64_t>(queue.desc), reinterpret_cast<std::uint64_t>(queue.used),
                                 reinterpret_cast<std::uint64_t>(queue.avail), 0};
  const vhost_vring_file kicked{index, queue.kick.get()}, called{index, queue.call.get()};
  if (!queue.kick || !queue.call || ::ioctl(vhost_.get(), VHOST_SET_VRING_NUM, &size) != 0 || ::ioctl(vhost_.get(), VHOST_SET_VRING_BASE, &base) != 0 ||
      ::ioctl(vhost_.get(), VHOST_SET_VRING_ADDR, &address) != 0 || ::ioctl(vhost_.get(), VHOST_SET_VRING_KICK, &kicked) != 0 ||
      ::ioctl(vhost_.get(), VHOST_SET_VRING_CALL, &called) != 0) {
    return errno_error("vhost-net's queue");
  }
  return {};
}

void GuestNic::post(Queue& queue, std::uint16_t entry) {
  queue.avail->ring[queue.avail->idx % entries] = entry;
  __atomic_store_n(&queue.avail->idx, static_cast<std::uint16_t>(queue.avail->idx + 1), __ATOMIC_RELEASE);
}

void GuestNic::kick(const Queue& queue) {
  const std::uint64_t one = 1;
  std::atomic_thread_fence(std::memory_order_seq_cst);
  if ((load(queue.used->flags) & VRING_USED_F_NO_NOTIFY) == 0) {
    // (It fails only when 2^64 kicks are unheard.)
    static_cast<void>(::write(queue.kick.get(), &one, sizeof(one)) == sizeof(one));
  }
}

Result<unsigned> GuestNic::take() {
  if (!has_vhost_) {
    return read_tap();
  }
  unsigned packets = 0;
  bool taken = false;
  for (unsigned more = 0; rx_.last != load(rx_.used->idx); rx_.last++) {
    const auto entry = static_cast<std::uint16_t>(rx_.used->ring[rx_.last % entries].id % entries);
    if (more == 0) {  // the first of a packet's buffers says how many they are
      std::uint16_t buffers = 1;
      std::memcpy(&buffers, memory_ + buffers_at + entry * buffer_size + num_buffers_at, sizeof(buffers));
      more = std::max<unsigned>(buffers, 1);
      packets++;
    }
    more--;
    post(rx_, entry);
    taken = true;
  }
  if (taken) {
    kick(rx_);
  }
  return packets;
}

Result<unsigned> GuestNic::read_tap() {
  unsigned packets = 0;
  for (;;) {
    const ssize_t got = ::read(tap_.get(), memory_ + buffers_at, entries * buffer_size);
    if (got > 0) {
      packets++;
    } else if (errno == EAGAIN) {
      return packets;
    } else if (errno != EINTR) {
      return errno_error("the tap");
    }
  }
}

void GuestNic::wait(int ms) const {
  epoll_event event;
  static_cast<void>(::epoll_wait(epoll_.get(), &event, 1, ms));
}

void GuestNic::set_frame(const std::vector<std::uint8_t>& frame) {
  frame_size_ = std::min<std::size_t>(frame.size(), memory_size(entries) - frame_at(entries));
  std::copy_n(frame.begin(), frame_size_, memory_ + frame_at(entries));
  if (has_vhost_) {
    // All entries are the same frame: the device only reads it.
    std::fill_n(tx_.desc, entries, vring_desc{reinterpret_cast<std::uint64_t>(memory_ + frame_at(entries)), static_cast<std::uint32_t>(frame_size_), 0, 0});
  }
}

unsigned GuestNic::send(unsigned n) {
  unsigned sent = 0;
  if (!has_vhost_) {
    while (sent < n && ::write(tap_.get(), memory_ + frame_at(entries), frame_size_) == static_cast<ssize_t>(frame_size_)) {
      sent++;
    }
    return sent;
  }
  for (; sent < n && on_the_way() < entries; sent++) {
    post(tx_, static_cast<std::uint16_t>(tx_.last++ % entries));
  }
  if (sent != 0) {
    kick(tx_);
  }
  return sent;
}

bool GuestNic::write(const std::vector<std::uint8_t>& frame) const {
  return ::write(tap_.get(), frame.data(), frame.size()) == static_cast<ssize_t>(frame.size());
}

unsigned GuestNic::on_the_way() const { return has_vhost_ ? static_cast<std::uint16_t>(tx_.last - load(tx_.used->idx)) : 0; }

}  // namespace spare
