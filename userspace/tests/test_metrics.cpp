// SPDX-License-Identifier: GPL-2.0-only
#include <grp.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <systemd/sd-bus.h>
#include <unistd.h>

#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <functional>
#include <map>
#include <regex>
#include <set>
#include <thread>
#include <utility>

#include "endpoint.hpp"
#include "fake_tree.hpp"
#include "meter/kinds.hpp"
#include "metrics/billed.hpp"
#include "metrics/families.hpp"
#include "metrics/fields.hpp"
#include "metrics/machines.hpp"
#include "metrics/scrape_socket.hpp"
#include "metrics/textfile.hpp"
#include "systemd.hpp"
#include "util/fd.hpp"
#include "util/files.hpp"

using prometheus::MetricFamily;
using prometheus::MetricType;
using spare::MeasuredVm;
using spare::Snapshot;

namespace {

// spare.stat with every key, the n-th of them n.
std::string stat_text() {
  std::string text;
  int n = 1;
  const auto add = [&](const char* key) { text += std::string(key) + " " + std::to_string(n++) + "\n"; };
  for (const auto& field : spare::vm_fields) {
    add(field.key);
  }
  return text + "lent_ns 5\nlat_sum_ns 2000000000\nlat_us_le_64 3\nlat_us_le_128 0\nlat_us_le_256 4\nlat_us_le_inf 2\ncpu0.state running\ncpu0.claimed 0\ncpu1.claimed 1\n";
}

MeasuredVm vm_of(const std::string& path, bool provider = false, const std::string& name = {}) {
  MeasuredVm each;
  each.vm.path = path;
  each.vm.reservation = spare::Reservation{40000, 100000};
  each.vm.provider = provider;
  each.vm.stat = spare::FlatKeyed::parse(stat_text());
  each.name = name;
  return each;
}

Snapshot snapshot_of(std::vector<MeasuredVm> vms) {
  Snapshot snapshot;
  snapshot.class_build = "12345678";
  snapshot.limit_ppm = 900000;
  snapshot.taken_ppm = {{0, 400000}, {1, 0}};
  snapshot.vms = std::move(vms);
  return snapshot;
}

std::string key_of(const MetricFamily& family, const prometheus::ClientMetric& metric) {
  std::string key = family.name;
  for (const auto& label : metric.label) {
    key += "\x1f" + label.name + "=" + label.value;
  }
  return key;
}

// Every number, by its series.
std::map<std::string, double> samples_of(const Snapshot& snapshot, std::optional<MetricType> type = {}) {
  std::map<std::string, double> samples;
  for (const auto& family : spare::families_of(snapshot)) {
    for (const auto& metric : type && family.type != *type ? std::vector<prometheus::ClientMetric>() : family.metric) {
      const std::string key = key_of(family, metric);
      if (family.type == MetricType::Histogram) {
        samples[key + "_sum"] = metric.histogram.sample_sum;
        samples[key + "_count"] = static_cast<double>(metric.histogram.sample_count);
      } else {
        samples[key] = family.type == MetricType::Counter ? metric.counter.value : metric.gauge.value;
      }
    }
  }
  return samples;
}

bool has_line(const std::string& text, const std::string& line) { return ("\n" + text).find("\n" + line + "\n") != std::string::npos; }

}  // namespace

TEST_CASE("metrics: names, types and units are as promtool wants them") {
  const auto families = spare::families_of(snapshot_of({vm_of("/pool/net/spare-0", true), vm_of("/vm/a")}));
  std::set<std::string> names;
  for (const MetricFamily& family : families) {
    INFO(family.name);
    CHECK(std::regex_match(family.name, std::regex("sched_spare_[a-z0-9_]+")));
    CHECK(family.name.ends_with("_total") == (family.type == MetricType::Counter));
    CHECK(names.insert(family.name).second);  // else the text has it in two places
    CHECK(family.help.ends_with("."));
    for (const char* unit : {"_ns", "_us", "_ms", "_ppm", "_percent", "_count", "_sum", "_bucket"}) {
      CHECK_FALSE(family.name.find(std::string(unit) + "_") != std::string::npos);
      CHECK_FALSE(family.name.ends_with(unit));
    }
    for (const auto& metric : family.metric) {
      std::set<std::string> labels;
      for (const auto& label : metric.label) {
        CHECK(std::regex_match(label.name, std::regex("[a-z_]+")));
        CHECK(labels.insert(label.name).second);
      }
    }
  }
}

TEST_CASE("metrics: each number is the file's, in base units") {
  const auto text = spare::as_text(spare::families_of(snapshot_of({vm_of("/pool/net/spare-0", true), vm_of("/vm/a")})));
  int n = 1;
  for (const auto& field : spare::vm_fields) {
    INFO(field.key);
    const bool is_time = std::string_view(field.key).ends_with("_ns");
    CHECK(field.unit == (is_time ? 1e-9 : 1));
    CHECK((std::string_view(field.name).find("_seconds") != std::string_view::npos) == is_time);
    std::ostringstream value;
    value.precision(16);
    value << n++ * field.unit;
    const std::string label = field.label == nullptr ? "" : std::string(",") + field.label + "=\"" + field.value + "\"";
    CHECK(has_line(text, std::string("sched_spare_") + field.name + "{vm=\"/vm/a\"" + label + "} " + value.str()));
  }
  CHECK(has_line(text, "sched_spare_vm_first_service_seconds_bucket{vm=\"/vm/a\",le=\"0.000128\"} 3"));
  CHECK(has_line(text, "sched_spare_vm_first_service_seconds_bucket{vm=\"/vm/a\",le=\"0.000256\"} 7"));
  CHECK(has_line(text, "sched_spare_vm_first_service_seconds_bucket{vm=\"/vm/a\",le=\"+Inf\"} 9"));
  CHECK(has_line(text, "sched_spare_vm_first_service_seconds_count{vm=\"/vm/a\"} 9"));
  CHECK(has_line(text, "sched_spare_vm_first_service_seconds_sum{vm=\"/vm/a\"} 2"));
  CHECK(has_line(text, "sched_spare_pool_servers{pool=\"/pool/net\"} 2"));
  CHECK(has_line(text, "sched_spare_pool_free_servers{pool=\"/pool/net\"} 1"));
  CHECK(has_line(text, "sched_spare_provider_lent_seconds_total{provider=\"/pool/net/spare-0\",pool=\"/pool/net\"} 5e-09"));
  CHECK(has_line(text, "sched_spare_cpu_reserved_ratio{cpu=\"0\"} 0.4"));
  CHECK(text.find("vm=\"/pool") == std::string::npos);  // a provider is no VM
}

TEST_CASE("metrics: what a module does not have is left out, and nothing is no number") {
  auto bare = vm_of("/vm/bare");
  bare.vm.stat = spare::FlatKeyed::parse("used_ns x\nperiods 3\nnr_servers\nmisses -1\n");
  bare.vm.reservation.reset();
  for (const auto& [series, value] : samples_of(snapshot_of({bare, vm_of("/vm/a")}))) {
    INFO(series);
    CHECK(std::isfinite(value));
    CHECK(value >= 0);
  }
  const auto samples = samples_of(snapshot_of({bare}));
  CHECK(samples.contains("sched_spare_vm_periods_total\x1fvm=/vm/bare"));
  CHECK_FALSE(samples.contains("sched_spare_vm_used_seconds_total\x1fvm=/vm/bare"));
  CHECK_FALSE(samples.contains("sched_spare_vm_deadline_misses_total\x1fvm=/vm/bare"));
}

TEST_CASE("metrics: VMs that come and go move no counter of anybody else") {
  const std::vector<MeasuredVm> all = {vm_of("/pool/net/spare-0", true), vm_of("/pool/net/spare-1", true), vm_of("/vm/a"), vm_of("/vm/b"), vm_of("/vm/c")};
  const auto before = samples_of(snapshot_of(all), MetricType::Counter);
  for (size_t gone = 0; gone < all.size(); gone++) {
    auto left = all;
    left.erase(left.begin() + static_cast<std::ptrdiff_t>(gone));
    const auto after = samples_of(snapshot_of(left), MetricType::Counter);
    CHECK(after.size() < before.size());
    for (const auto& [series, value] : after) {
      INFO(series);
      CHECK(before.at(series) == value);
    }
  }
}

TEST_CASE("metrics: a VM that comes back under its name begins anew, with all its counters together") {
  auto again = vm_of("/vm/a");
  again.vm.stat = spare::FlatKeyed::parse(std::regex_replace(stat_text(), std::regex(" [0-9]+\n"), " 0\n"));
  for (const auto& [series, value] : samples_of(snapshot_of({again, vm_of("/vm/b")}), MetricType::Counter)) {
    if (series.find("vm=/vm/a") != std::string::npos) {
      INFO(series);
      CHECK(value == 0);
    }
  }
}

TEST_CASE("metrics: with the meter its kinds stand for the file's") {
  auto metered = vm_of("/vm/a");
  metered.billed_ns = {{"guest", 7000000000}, {"softirq_rx", 1}};
  const auto samples = samples_of(snapshot_of({metered, vm_of("/vm/b")}));
  const std::string name = "sched_spare_vm_cpu_seconds_total\x1fvm=";
  CHECK(samples.at(name + "/vm/a\x1fkind=guest") == 7);
  CHECK(samples.contains(name + "/vm/a\x1fkind=softirq_rx"));
  CHECK_FALSE(samples.contains(name + "/vm/a\x1fkind=vhost"));
  CHECK(samples.contains(name + "/vm/b\x1fkind=vhost"));
}

TEST_CASE("metrics: what the meter has billed is the cgroup's of that path, over all CPUs, and nobody else's") {
  const auto billed = [](const std::string& cgroup, std::uint64_t cgroup_id, bool gone, std::uint64_t ns) {
    spare::BillRow row;
    row.ns.fill(ns);
    spare::VmReading vm;
    vm.vm.cgroup = cgroup;
    vm.vm.cgroup_id = cgroup_id;
    vm.vm.gone = gone;
    vm.of_cpu = {row, row};
    return vm;
  };
  spare::Reading reading;
  reading.cpus.resize(2);
  // A process of its own in this cgroup, who was at this path before, and the VM.
  reading.vms = {billed("/vm/a", 0, false, 1), billed("/vm/a", 7, true, 10), billed("/vm/a", 8, false, 100)};
  std::vector<MeasuredVm> vms = {vm_of("/vm/a"), vm_of("/vm/b")};
  spare::add_billed(vms, reading);
  CHECK(vms[1].billed_ns.empty());
  REQUIRE(vms[0].billed_ns.size() == spare::kind_names.size());
  for (const auto& [kind, ns] : vms[0].billed_ns) {
    INFO(kind);
    CHECK(ns == 200);
  }
}

TEST_CASE("ACC-3: metrics: what packets cost, by both models, with their errors") {
  Snapshot snapshot = snapshot_of({});
  const auto none = samples_of(snapshot);
  CHECK(std::none_of(none.begin(), none.end(), [](const auto& sample) { return sample.first.find("packet_cost") != std::string::npos; }));
  // 2 us sent, 4 us received, nothing else.
  for (int i = 1; i < 20; i++) {
    const double sent = 10 * i, received = 7 * (i % 5);
    snapshot.model.add({sent, received, 64 * sent, 1000.0 * i * i, received, sent + i}, 2000 * sent + 4000 * received);
    snapshot.model.fit(1);
  }
  const auto samples = samples_of(snapshot);
  const std::string name = "sched_spare_packet_cost_";
  CHECK(std::abs(samples.at(name + "seconds\x1fmodel=packets\x1fof=sent") - 2e-6) < 1e-9);
  CHECK(std::abs(samples.at(name + "seconds\x1fmodel=packets\x1fof=received") - 4e-6) < 1e-9);
  CHECK(samples.contains(name + "seconds\x1fmodel=batches\x1fof=vhost_run"));
  CHECK(samples.at(name + "error_ratio\x1fmodel=packets") < 0.1);
  CHECK(samples.contains(name + "error_ratio\x1fmodel=batches"));
  CHECK(std::abs(samples.at(name + "weight_ratio") - 0.5) < 1e-6);
}

TEST_CASE("metrics: labels of any bytes, no two alike") {
  const std::string invalid = "/vm/\xff\"\n\\x2d";
  const auto text = spare::as_text(spare::families_of(snapshot_of({vm_of(invalid)})));
  CHECK(has_line(text, R"(sched_spare_vm_placed{vm="/vm/\\xff\"\\x0a\\x2d"} )" + std::to_string(1 + std::find_if(std::begin(spare::vm_fields), std::end(spare::vm_fields), [](const auto& f) { return std::string(f.key) == "placed"; }) - std::begin(spare::vm_fields))));
  const auto labels = spare::vm_labels({vm_of("/vm/a", false, "web"), vm_of("/vm/b", false, "web"), vm_of("/vm/c", false, "db"), vm_of("/vm/\xff"), vm_of("/vm/\\xff"),
                                        vm_of("/vm/\\xff #2")});
  CHECK(labels == std::vector<std::string>{"/vm/a", "/vm/b", "db", "/vm/\\xff", "/vm/\\xff #2", "/vm/\\xff #2 #2"});
  std::set<std::string> series;
  for (const std::string& line : spare::split(spare::as_text(spare::families_of(snapshot_of({vm_of("/pool/\xff/spare-0", true), vm_of("/pool/\\xff/spare-0", true)}))), "\n")) {
    INFO(line);
    CHECK(series.insert(line.substr(0, line.rfind(' '))).second);
  }
}

TEST_CASE("metrics: libvirt's name is that of its scope in machine.slice, and of nothing else") {
  using spare::machine_of_scope, spare::machine_scope, spare::guest_of_machine;
  const auto guest = [](const std::string& path) { return guest_of_machine(machine_of_scope(machine_scope(path))); };
  CHECK(guest(R"(/machine.slice/machine-qemu\x2d1\x2dvm1.scope)") == "vm1");
  CHECK(guest(R"(/machine.slice/machine-qemu\x2d12\x2dweb\x2d7.scope/libvirt)") == "web-7");
  CHECK(guest(R"(/machine.slice/machine-prod.slice/machine-qemu\x2d3\x2da.scope)") == "a");
  for (const char* other : {"/", "/vm/vm1", R"(/user.slice/machine.slice/machine-qemu\x2d1\x2dvm1.scope)", R"(/vm/machine-qemu\x2d1\x2dvm1.scope)",
                            R"(/machine.slice/machine-lxc\x2d1\x2dvm1.scope)", R"(/machine.slice/machine-qemu\x2d\x2dvm1.scope)", "/machine.slice/machine-.scope",
                            R"(/machine.slice/machine-qemu\x2d1\x2dvm\x2.scope)", R"(/machine.slice/machine-qemu\x2d1\x2dvm\xzz.scope)", "/machine.slice/machine-",
                            R"(/machine.slice/x.scope/machine-qemu\x2d1\x2dvm1.scope)"}) {
    INFO(other);
    CHECK(guest(other).empty());
  }
}

namespace {

// A system bus as its clients see it, at a Unix socket: who connects is given to `serve` for as long as it wants.
class FakeBus {
 public:
  explicit FakeBus(std::function<void(int)> serve) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    const std::string path = tree_.root() / "bus";
    path.copy(address.sun_path, sizeof(address.sun_path) - 1);
    listening_ = spare::Fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    REQUIRE(::bind(listening_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0);
    REQUIRE(::listen(listening_.get(), 8) == 0);
    ::setenv("DBUS_SYSTEM_BUS_ADDRESS", ("unix:path=" + path).c_str(), 1);
    if (serve) {
      server_ = std::thread([this, serve = std::move(serve)] { serve(::accept4(listening_.get(), nullptr, nullptr, SOCK_CLOEXEC)); });
    }
  }
  ~FakeBus() {
    ::unsetenv("DBUS_SYSTEM_BUS_ADDRESS");
    if (server_.joinable()) {
      server_.join();
    }
  }
  FakeBus(const FakeBus&) = delete;
  FakeBus& operator=(const FakeBus&) = delete;

 private:
  FakeTree tree_;
  spare::Fd listening_;
  std::thread server_;
};

// Greets, and answers each other call after a while: with an error's name, or that the machine is another scope's.
int answer(sd_bus_message* call, void* how, sd_bus_error*) {
  const auto& [pause, error] = *static_cast<const std::pair<std::chrono::milliseconds, const char*>*>(how);
  if (sd_bus_message_is_method_call(call, nullptr, "Hello") > 0) {
    return sd_bus_reply_method_return(call, "s", ":1.1");
  }
  if (sd_bus_message_is_method_call(call, nullptr, nullptr) <= 0) {
    return 0;
  }
  std::this_thread::sleep_for(pause);
  return error != nullptr ? sd_bus_reply_method_errorf(call, error, "no") : sd_bus_reply_method_return(call, "v", "s", "another.scope");
}

std::function<void(int)> machined(std::chrono::milliseconds pause, const char* error = nullptr) {
  return [=](int fd) {
    std::pair how(pause, error);
    sd_bus* bus = nullptr;
    sd_id128_t id{};
    bool good = sd_id128_randomize(&id) >= 0 && sd_bus_new(&bus) >= 0 && sd_bus_set_fd(bus, fd, fd) >= 0 && sd_bus_set_server(bus, 1, id) >= 0 &&
                sd_bus_add_filter(bus, nullptr, answer, &how) >= 0 && sd_bus_start(bus) >= 0;
    for (int done = 0; good && (done = sd_bus_process(bus, nullptr)) >= 0;) {
      good = done > 0 || sd_bus_wait(bus, UINT64_MAX) >= 0;
    }
    sd_bus_close_unref(bus);
  };
}

std::map<std::string, std::string> machines(int n) {
  std::map<std::string, std::string> all;
  for (int i = 0; i < n; i++) {
    all["machine-" + std::to_string(i) + ".scope"] = std::to_string(i);
  }
  return all;
}

}  // namespace

TEST_CASE("metrics: a bus that does not answer, or slowly, holds a page up for 0.2 s, and once a minute") {
  const auto timed = [](auto what) {
    const auto began = std::chrono::steady_clock::now();
    what();
    return std::chrono::steady_clock::now() - began;
  };
  SECTION("it takes connections and says nothing") {
    const FakeBus bus(nullptr);
    std::vector<MeasuredVm> vms = {vm_of("/machine.slice/machine-qemu\\x2d1\\x2dweb.scope")};
    spare::Machines names;
    CHECK(timed([&] { names.name(vms); }) < std::chrono::seconds{2});
    CHECK(vms[0].name == "web");
    CHECK(timed([&] { names.name(vms); }) < std::chrono::milliseconds{150});
    CHECK(spare::machine_uuids(machines(1)).empty());
  }
  SECTION("each answer is within the time, all of them are not") {
    const FakeBus bus(machined(std::chrono::milliseconds{50}));
    std::map<std::string, std::string> known;
    CHECK(timed([&] { known = spare::machine_uuids(machines(64)); }) < std::chrono::milliseconds{1500});
    CHECK(known.size() < 10);
  }
}

TEST_CASE("metrics: that machined has no such machine is known when it says so, and not by another failure") {
  {
    const FakeBus bus(machined({}));
    CHECK(spare::machine_uuids(machines(2)) == std::map<std::string, std::string>{{"machine-0.scope", ""}, {"machine-1.scope", ""}});
  }
  {
    const FakeBus bus(machined({}, "org.freedesktop.machine1.NoSuchMachine"));
    CHECK(spare::machine_uuids(machines(2)).size() == 2);
  }
  const FakeBus bus(machined({}, SD_BUS_ERROR_ACCESS_DENIED));
  CHECK(spare::machine_uuids(machines(2)).empty());
}

TEST_CASE("metrics: the textfile is replaced whole, and a link that somebody has laid is not followed") {
  const FakeTree tree;
  const std::string path = tree.root() / "spare.prom";
  tree.file("elsewhere", "mine");
  REQUIRE(::symlink((tree.root() / "elsewhere").c_str(), (path + ".new").c_str()) == 0);
  REQUIRE(spare::replace_file(path, "one\n"));
  CHECK(tree.text("spare.prom") == "one\n");
  CHECK(tree.text("elsewhere") == "mine");
  REQUIRE(spare::replace_file(path, "two\n"));
  CHECK(tree.text("spare.prom") == "two\n");
  struct stat file {};
  REQUIRE(::lstat(path.c_str(), &file) == 0);
  CHECK((file.st_mode & 07777) == 0644);
  CHECK_FALSE(std::filesystem::exists(path + ".new"));
  CHECK_FALSE(spare::replace_file(tree.root() / "none/spare.prom", "x"));

  // Nor is one in its directory's place, and where it fails nothing is left.
  tree.file("other/spare.prom", "mine");
  std::filesystem::create_directory_symlink(tree.root() / "other", tree.root() / "link");
  CHECK_FALSE(spare::replace_file(tree.root() / "link/spare.prom", "x"));
  spare::remove_file(tree.root() / "link/spare.prom");
  CHECK(tree.text("other/spare.prom") == "mine");
  tree.file("dir.prom/file", "");
  CHECK_FALSE(spare::replace_file(tree.root() / "dir.prom", "x"));
  CHECK_FALSE(std::filesystem::exists(tree.root() / "dir.prom.new"));
  spare::remove_file(path);
  CHECK_FALSE(std::filesystem::exists(path));
}

TEST_CASE("metrics: a socket of a group's is its, and another one root's alone") {
  const FakeTree tree;
  const ::group* own = ::getgrgid(::getegid());
  REQUIRE(own != nullptr);
  for (const std::string& group : {std::string(own->gr_name), std::string()}) {
    const std::string path = tree.root() / "m";
    const auto socket = spare::listen_at({path, "", 0}, group);
    REQUIRE(socket);
    struct stat file {};
    REQUIRE(::lstat(path.c_str(), &file) == 0);
    CHECK((file.st_mode & 07777) == (group.empty() ? 0600 : 0660));
    CHECK(file.st_gid == ::getegid());
  }
}

namespace {

// A scrape socket in a directory, and who talks to it.
class Scrape {
 public:
  Scrape() : socket_(*spare::ScrapeSocket::open(spare::Endpoint{path(), "", 0}, "")) {}

  [[nodiscard]] std::string path() const { return tree_.root() / "m"; }
  spare::Fd connect() const {
    spare::Fd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path().copy(address.sun_path, sizeof(address.sun_path) - 1);
    CHECK(::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0);
    return fd;
  }
  spare::Fd ask(const std::string& request) const {
    auto fd = connect();
    CHECK(::send(fd.get(), request.data(), request.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(request.size()));
    return fd;
  }
  // So many turns, each when its rest is over.
  void turn(int times = 3) {
    for (int i = 0; i < times; i++) {
      while (socket_.fd() < 0) {
        ::usleep(100);
      }
      socket_.turn([&] {
        made_++;
        return std::make_shared<const std::string>(page_);
      });
    }
  }
  // What has been answered; "-": it is not closed yet.
  std::string answer(const spare::Fd& fd) {
    std::string text;
    char buffer[65536];
    for (;;) {
      const auto n = ::recv(fd.get(), buffer, sizeof(buffer), 0);
      if (n > 0) {
        text.append(buffer, static_cast<size_t>(n));
        turn(1);
        continue;
      }
      return n < 0 && errno == EAGAIN ? text + "-" : text;
    }
  }
  // An answer that comes in many pieces, to its end.
  std::string whole_answer(const spare::Fd& fd) {
    std::string all;
    for (int i = 0; i < 1000; i++) {
      const std::string part = answer(fd);
      if (!part.ends_with('-')) {
        return all + part;
      }
      all += part.substr(0, part.size() - 1);
      turn(1);
    }
    return all + "-";
  }
  std::string page_ = "page\n";
  int made_ = 0;

 private:
  FakeTree tree_;
  spare::ScrapeSocket socket_;
};

const std::string get = "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n";

}  // namespace

TEST_CASE("metrics: a scrape gets the page, and whoever asks for something else does not") {
  Scrape scrape;
  const auto good = scrape.ask(get), other = scrape.ask("GET /metricsx HTTP/1.1\r\n\r\n"), post = scrape.ask("POST /metrics HTTP/1.1\r\n\r\n"),
             garbage = scrape.ask(std::string(5000, 'x'));
  scrape.turn();
  CHECK(scrape.answer(good) == "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\nContent-Length: 5\r\nConnection: close\r\n\r\npage\n");
  CHECK(scrape.answer(other).starts_with("HTTP/1.1 404 "));
  CHECK(scrape.answer(post).starts_with("HTTP/1.1 405 "));
  CHECK(scrape.answer(garbage).starts_with("HTTP/1.1 431 "));
  CHECK(scrape.made_ == 1);
}

TEST_CASE("metrics: a request in pieces, and an answer larger than what a socket takes at once") {
  Scrape scrape;
  scrape.page_ = std::string(4 << 20, 'x');
  const auto slow = scrape.connect();
  for (const char each : get) {
    REQUIRE(::send(slow.get(), &each, 1, MSG_NOSIGNAL) == 1);
    scrape.turn(1);
  }
  scrape.turn();
  const std::string all = scrape.whole_answer(slow);
  CHECK(all.size() == all.find("\r\n\r\n") + 4 + scrape.page_.size());
}

TEST_CASE("metrics: who is silent keeps nobody out, and ends no answer") {
  Scrape scrape;
  scrape.page_ = std::string(4 << 20, 'x') + "page\n";
  const auto slow = scrape.ask(get);
  std::vector<spare::Fd> silent;
  for (size_t i = 0; i < 3 * spare::ScrapeSocket::connections_most; i++) {
    silent.push_back(scrape.connect());
    scrape.turn(1);
  }
  const auto good = scrape.ask(get);
  scrape.turn();
  CHECK(scrape.whole_answer(good).ends_with("page\n"));
  CHECK(scrape.answer(silent.front()).empty());
  CHECK(scrape.whole_answer(slow).ends_with("page\n"));
}
