// SPDX-License-Identifier: GPL-2.0-only
#include "calibrate.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>

#include "bench_net.hpp"
#include "meter/bill.hpp"
#include "meter/meter.hpp"

namespace spare {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr const char* tap = "guest";
constexpr milliseconds settled{300}, known_at_last{20000};

// While the meter does what it has to, until then.
void attend(Meter& meter, milliseconds how_long) {
  for (const auto end = Clock::now() + how_long; Clock::now() < end;) {
    pollfd fd{meter.fd(), POLLIN, 0};
    ::poll(&fd, 1, static_cast<int>(std::chrono::ceil<milliseconds>(end - Clock::now()).count()));
    if (fd.revents != 0) {
      meter.turn();
    }
  }
}

// This process, as a VM.
const VmReading* own(const Reading& reading) {
  const auto found = std::find_if(reading.vms.begin(), reading.vms.end(), [](const VmReading& vm) {
    return std::any_of(vm.vm.processes.begin(), vm.vm.processes.end(), [](const VmProcess& p) { return p.pid == ::getpid(); });
  });
  return found == reading.vms.end() ? nullptr : &*found;
}

class Bench {
 public:
  Bench(BenchNet net, std::unique_ptr<Meter> meter, GuestNic guest, Wire wire)
      : net_(std::move(net)), meter_(std::move(meter)), guest_(std::move(guest)), wire_(std::move(wire)) {}

  // Until the meter knows the guest, its tap and its vhost worker.
  Result<void> introduce() {
    for (const auto end = Clock::now() + known_at_last; Clock::now() < end;) {
      const auto first = measure({.to_guest = true, .batches = 20});
      if (!first) {
        return first.error();
      }
      if (first->billed_ns > 0 && first->amounts[vhost_runs] > 0 && first->amounts[softirqs] > 0 && first->lost == 0) {
        const auto warm = measure({.to_guest = false, .batches = 100});  // what is sent for the first time takes longer
        return warm ? Result<void>() : warm.error();
      }
      attend(*meter_, milliseconds{500});
    }
    return Error{"the meter does not see the stand-in's packets"};
  }

  Result<Measured> measure(const Load& load) {
    if (auto set = net_.let_pass_whole(load.cut == Cut::tcp); !set) {
      return set.error();
    }
    const auto before = row();
    if (!before) {
      return before.error();
    }
    const auto carried = carry(guest_, wire_, load, BenchNet::guest_mac, BenchNet::wire_mac);
    if (!carried) {
      return carried.error();
    }
    attend(*meter_, settled);
    const auto after = row();
    if (!after) {
      return after.error();
    }
    const BillRow had = since(*before, *after);
    Measured m{load, {}, carried->lost, static_cast<double>(network_ns(had))};
    m.amounts[load.to_guest ? packets_received : packets_sent] = static_cast<double>(carried->packets);
    m.amounts[load.to_guest ? bytes_received : bytes_sent] = static_cast<double>(carried->bytes);
    m.amounts[softirqs] = had.batches[0];
    m.amounts[vhost_runs] = had.batches[1];
    return m;
  }

 private:
  Result<BillRow> row() {
    const auto reading = meter_->read();
    if (!reading) {
      return reading.error();
    }
    BillRow sum;
    if (const VmReading* vm = own(*reading)) {
      for (const BillRow& of_cpu : vm->of_cpu) {
        add(sum, of_cpu);
      }
    }
    return sum;
  }

  BenchNet net_;
  std::unique_ptr<Meter> meter_;
  GuestNic guest_;
  Wire wire_;
};

Result<void> possible() {
  if (::geteuid() != 0) {
    return Error{"it makes a network namespace and loads BPF programs: run it as root", EPERM};
  }
  for (const char* device : {"/dev/net/tun", "/dev/vhost-net"}) {
    if (::access(device, R_OK | W_OK) != 0) {
      return Error{fmt::format("{} cannot be had: modprobe {}", device, std::string_view(device).ends_with("tun") ? "tun" : "vhost_net"), errno};
    }
  }
  return {};
}

Result<Bench> make_bench(const Roots& roots) {
  auto net = BenchNet::make();
  if (!net) {
    return net.error();
  }
  auto guest = GuestNic::open({.tap = tap, .offloads = true});
  if (!guest) {
    return guest.error();
  }
  if (auto put = net->attach(tap); !put) {
    return put.error();
  }
  if (auto on = receive_by_napi(BenchNet::nic); !on) {
    return on.error();
  }
  auto wire = Wire::open(BenchNet::wire);
  if (!wire) {
    return wire.error();
  }
  auto meter = attach_meter(roots, {});
  if (!meter) {
    return meter.error();
  }
  return Bench(std::move(*net), std::move(*meter), std::move(*guest), std::move(*wire));
}

}  // namespace

Result<Calibration> calibrate(const Roots& roots) {
  if (auto can = possible(); !can) {
    return can.error();
  }
  auto bench = make_bench(roots);
  if (!bench) {
    return bench.error();
  }
  if (auto known = bench->introduce(); !known) {
    return known.error();
  }
  std::vector<Measured> measured;
  for (int round = 0; round < 2; round++) {
    for (const Load& load : calibration_loads()) {
      auto m = bench->measure(load);
      if (!m) {
        return m.error();
      }
      measured.push_back(std::move(*m));
    }
  }
  return calibrate_from(std::move(measured));
}

}  // namespace spare
