// SPDX-License-Identifier: GPL-2.0-only
//
// e1_probe - pings a VM on a fixed schedule and knows, for every packet, whether the VM's budget was spent when it was sent.
//
// The schedule comes from --seed alone: a gap of 20 ms and up to --spread more after the previous answer (100 ms: a width of the longest
// period, so phases are uniform; where there is no period less will do), then either a packet at that instant ("random", every fourth)
// or a packet at the next exhaustion ("aimed", as in Cucinotta et al. 2011; given up after --aim-limit ms, then sent anyway and recorded as "unaimed").
//
// A guest's tick (4 ms) divides the reservation's period, so it would be exhausted at the same phase of its tick again and again: in one
// boot each aimed packet would find the guest in the middle of a tick, and in another none would. So before each aimed packet a
// real-time thread takes the VM's CPU for a time from 0 to one tick, as an interrupt of the host's would.
//
// What "spent" means is the same for every scheduler, and needs nothing from it: the kernel's own context-switch records
// (perf PERF_RECORD_SWITCH_CPU_WIDE of the VM's CPU, CLOCK_MONOTONIC, read from the shared ring without a system call) show
// the CPU going idle while the vCPU thread is runnable. A CPU does that for one reason only: the vCPU is not allowed to run.
// The state holds until the vCPU is switched in again.
//
// Output: --packets CSV, a line per packet (times in ns of CLOCK_MONOTONIC, latencies in us, empty: never happened), and
// --switches CSV, what ran on the VM's CPU from 60 ms before each packet until 120 ms after it.
// Exit status 0, or 1 with a message. Needs root.

#include "cli/options.hpp"
#include <fmt/core.h>
#include <linux/perf_event.h>
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/ip_icmp.h>
#include <poll.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace {

using Ns = std::int64_t;
constexpr Ns ms = 1'000'000;
constexpr Ns reply_limit = 1000 * ms;
constexpr Ns guest_tick = 4 * ms;
constexpr int own_priority = 50;

Ns now()
{
    timespec ts{};
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return static_cast<Ns>(ts.tv_sec) * 1'000'000'000 + ts.tv_nsec;
}

void sleep_until(Ns when)
{
    const timespec ts{.tv_sec = static_cast<time_t>(when / 1'000'000'000), .tv_nsec = static_cast<long>(when % 1'000'000'000)};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, nullptr) == EINTR) {
    }
}

[[noreturn]] void fail(const std::string& what)
{
    fmt::print(stderr, "e1_probe: {}: {}\n", what, std::strerror(errno));
    std::exit(1);
}

class Fd {
public:
    explicit Fd(int fd) : fd_(fd) {}
    Fd(Fd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
    Fd& operator=(Fd&&) = delete;
    ~Fd()
    {
        if (fd_ >= 0)
            close(fd_);
    }
    [[nodiscard]] int get() const { return fd_; }

private:
    int fd_;
};

// One context switch on the VM's CPU.
struct Switch {
    Ns t;
    int prev, next;        // thread ids; 0: idle
    bool prev_runnable;    // prev was preempted or throttled, not blocked
};

// The VM's CPU, as told by its context-switch records.
class CpuWatch {
public:
    CpuWatch(int cpu, int vcpu_tid, std::set<int> vm_tids, std::set<int> vhost_tids)
        : vcpu_(vcpu_tid), vm_(std::move(vm_tids)), vhost_(std::move(vhost_tids)), fd_(open_event(cpu))
    {
        const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
        void* map = mmap(nullptr, page + ring_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd_.get(), 0);
        if (map == MAP_FAILED)
            fail("mmap of the perf ring");
        control_ = static_cast<perf_event_mmap_page*>(map);
        ring_ = static_cast<const unsigned char*>(map) + page;
        switches.reserve(1u << 20);
    }

    // Take in what has happened since the last call.
    void update()
    {
        const std::uint64_t head = __atomic_load_n(&control_->data_head, __ATOMIC_ACQUIRE);
        std::uint64_t tail = control_->data_tail;
        while (tail < head) {
            perf_event_header header{};
            copy(tail, &header, sizeof header);
            if (header.type == PERF_RECORD_SWITCH_CPU_WIDE && (header.misc & PERF_RECORD_MISC_SWITCH_OUT) != 0) {
                // header, next pid, next tid, then sample_id: pid, tid, time
                struct {
                    perf_event_header h;
                    std::uint32_t next_pid, next_tid, pid, tid;
                    std::uint64_t time;
                } r{};
                copy(tail, &r, sizeof r);
                take({.t = static_cast<Ns>(r.time),
                      .prev = static_cast<int>(r.tid),
                      .next = static_cast<int>(r.next_tid),
                      .prev_runnable = (header.misc & PERF_RECORD_MISC_SWITCH_OUT_PREEMPT) != 0});
            } else if (header.type == PERF_RECORD_LOST) {
                ++lost;
            }
            tail += header.size;
        }
        __atomic_store_n(&control_->data_tail, tail, __ATOMIC_RELEASE);
    }

    [[nodiscard]] bool spent() const { return spent_; }
    [[nodiscard]] Ns spent_since() const { return spent_since_; }
    [[nodiscard]] bool is_vhost(int tid) const { return vhost_.contains(tid); }
    [[nodiscard]] bool is_vm(int tid) const { return vm_.contains(tid); }
    [[nodiscard]] const char* kind_of(int tid) const
    {
        return tid == vcpu_ ? "vcpu" : tid == 0 ? "idle" : is_vhost(tid) ? "vhost" : is_vm(tid) ? "qemu" : "host";
    }
    [[nodiscard]] int vcpu() const { return vcpu_; }

    std::vector<Switch> switches;
    unsigned lost = 0;

private:
    static constexpr std::size_t ring_bytes = 4u << 20;

    static int open_event(int cpu)
    {
        perf_event_attr attr{};
        attr.size = sizeof attr;
        attr.type = PERF_TYPE_SOFTWARE;
        attr.config = PERF_COUNT_SW_DUMMY;
        attr.sample_type = PERF_SAMPLE_TID | PERF_SAMPLE_TIME;
        attr.sample_id_all = 1;
        attr.context_switch = 1;
        attr.use_clockid = 1;
        attr.clockid = CLOCK_MONOTONIC;
        attr.watermark = 1;    // nobody is woken: the ring is polled
        attr.wakeup_watermark = ring_bytes;
        const int fd = static_cast<int>(syscall(SYS_perf_event_open, &attr, -1, cpu, -1, PERF_FLAG_FD_CLOEXEC));
        if (fd < 0)
            fail("perf_event_open of context switches");
        return fd;
    }

    void copy(std::uint64_t at, void* to, std::size_t n) const
    {
        const std::size_t from = at % ring_bytes;
        const std::size_t first = std::min(n, ring_bytes - from);
        std::memcpy(to, ring_ + from, first);
        std::memcpy(static_cast<unsigned char*>(to) + first, ring_, n - first);
    }

    void take(const Switch& s)
    {
        if (s.prev == vcpu_)
            vcpu_runnable_ = s.prev_runnable;
        if (s.next == vcpu_) {
            spent_ = false;
        } else if (s.next == 0 && vcpu_runnable_ && !spent_) {
            spent_ = true;
            spent_since_ = s.t;
        }
        switches.push_back(s);
    }

    int vcpu_;
    std::set<int> vm_, vhost_;
    Fd fd_;
    perf_event_mmap_page* control_ = nullptr;
    const unsigned char* ring_ = nullptr;
    bool vcpu_runnable_ = false, spent_ = false;
    Ns spent_since_ = 0;
};

struct Packet {
    const char* kind = "";
    Ns sent = 0;
    std::optional<Ns> answered;
    bool spent = false;
    Ns spent_for = 0;
};

std::uint16_t internet_checksum(const void* data, std::size_t n)
{
    const auto* byte = static_cast<const unsigned char*>(data);
    std::uint32_t sum = 0;
    for (std::size_t i = 0; i < n; i += 2)
        sum += static_cast<std::uint32_t>(byte[i] << 8 | (i + 1 < n ? byte[i + 1] : 0));
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    return htons(static_cast<std::uint16_t>(~sum));
}

class Pinger {
public:
    explicit Pinger(const std::string& target)
        : fd_(socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, IPPROTO_ICMP)), id_(static_cast<std::uint16_t>(getpid()))
    {
        if (fd_.get() < 0)
            fail("raw ICMP socket");
        sockaddr_in to{};
        to.sin_family = AF_INET;
        if (inet_pton(AF_INET, target.c_str(), &to.sin_addr) != 1 ||
            connect(fd_.get(), reinterpret_cast<const sockaddr*>(&to), sizeof to) != 0)
            fail("target " + target);
    }

    void send(std::uint16_t seq)
    {
        struct {
            icmphdr icmp;
            unsigned char payload[56];
        } packet{};
        packet.icmp.type = ICMP_ECHO;
        packet.icmp.un.echo.id = htons(id_);
        packet.icmp.un.echo.sequence = htons(seq);
        packet.icmp.checksum = internet_checksum(&packet, sizeof packet);
        if (::send(fd_.get(), &packet, sizeof packet, 0) != static_cast<ssize_t>(sizeof packet))
            fail("send");
    }

    // Time at which the answer to seq was read, or nothing by the limit.
    std::optional<Ns> wait(std::uint16_t seq, Ns limit)
    {
        for (;;) {
            const Ns left = limit - now();
            if (left <= 0)
                return std::nullopt;
            pollfd p{.fd = fd_.get(), .events = POLLIN, .revents = 0};
            const timespec ts{.tv_sec = static_cast<time_t>(left / 1'000'000'000), .tv_nsec = static_cast<long>(left % 1'000'000'000)};
            ppoll(&p, 1, &ts, nullptr);
            unsigned char data[256];
            const ssize_t n = recv(fd_.get(), data, sizeof data, 0);
            const Ns t = now();
            if (n < static_cast<ssize_t>(sizeof(iphdr) + sizeof(icmphdr)))
                continue;
            icmphdr icmp{};
            std::memcpy(&icmp, data + (data[0] & 15) * 4, sizeof icmp);
            if (icmp.type == ICMP_ECHOREPLY && ntohs(icmp.un.echo.id) == id_ && ntohs(icmp.un.echo.sequence) == seq)
                return t;
        }
    }

private:
    Fd fd_;
    std::uint16_t id_;
};

struct Options {
    std::string target, column = "column", packets, switches;
    int vm_pid = 0, vcpu_tid = 0, vm_cpu = 1, own_cpu = 0;
    unsigned count = 80, first = 1, seed = 1, aim_limit_ms = 120, spread_ms = 100;
};

// Runs on that CPU before everybody else for so long. (Not before a deadline vCPU: nobody does, and its CPU is a partition of its own.)
void take_cpu(int cpu, Ns length)
{
    cpu_set_t before, set;
    CPU_ZERO(&set);
    CPU_SET(static_cast<unsigned>(cpu), &set);
    const sched_param fifo{.sched_priority = 1}, own{.sched_priority = own_priority};
    if (sched_getaffinity(0, sizeof before, &before) != 0)
        fail("affinity");
    const bool moved = sched_setaffinity(0, sizeof set, &set) == 0;
    if (!moved && errno == EINVAL)
        return;
    if (!moved || sched_setscheduler(0, SCHED_FIFO, &fifo) != 0)
        fail("real-time thread on the VM's CPU");
    for (const Ns end = now() + length; now() < end;) {
    }
    if (sched_setaffinity(0, sizeof before, &before) != 0 || sched_setscheduler(0, SCHED_FIFO, &own) != 0)
        fail("back from the VM's CPU");
}

std::vector<Packet> run_schedule(const Options& o, CpuWatch& watch, Pinger& pinger)
{
    std::mt19937 random(o.seed);
    std::vector<Packet> packets;
    for (unsigned i = 0; i < o.count; ++i) {
        // Not std::uniform_int_distribution: its sequence is the library's choice.
        const Ns gap = 20 * ms + static_cast<Ns>(random() % (o.spread_ms * 1000)) * 1000;
        const bool aimed = i % 4 != 0;
        sleep_until(now() + gap);
        Packet p;
        p.kind = aimed ? "aimed" : "random";
        watch.update();
        if (aimed) {
            while (watch.spent()) {
                sleep_until(now() + 50'000);
                watch.update();
            }
            take_cpu(o.vm_cpu, static_cast<Ns>(random() % guest_tick));
            const Ns start = now();
            while (!(watch.spent() && watch.spent_since() >= start)) {
                if (now() - start > o.aim_limit_ms * ms) {
                    p.kind = "unaimed";
                    break;
                }
                sleep_until(now() + 50'000);
                watch.update();
            }
        }
        p.spent = watch.spent();
        p.sent = now();
        p.spent_for = p.spent ? p.sent - watch.spent_since() : 0;
        const auto seq = static_cast<std::uint16_t>(o.first + i);
        pinger.send(seq);
        p.answered = pinger.wait(seq, p.sent + reply_limit);
        packets.push_back(p);
    }
    sleep_until(now() + 130 * ms);
    watch.update();
    return packets;
}

// First instant after `sent` at which a thread that `wanted` accepts was put on the VM's CPU, as latency in us; or empty.
template <typename Wanted>
std::string first_run_us(const CpuWatch& watch, Ns sent, Wanted wanted)
{
    auto s = std::lower_bound(watch.switches.begin(), watch.switches.end(), sent, [](const Switch& a, Ns t) { return a.t < t; });
    for (; s != watch.switches.end() && s->t < sent + reply_limit; ++s)
        if (wanted(s->next))
            return fmt::format("{:.1f}", static_cast<double>(s->t - sent) / 1e3);
    return "";
}

void write_packets(const Options& o, const CpuWatch& watch, const std::vector<Packet>& packets)
{
    std::FILE* f = std::fopen(o.packets.c_str(), "we");
    if (f == nullptr)
        fail(o.packets);
    fmt::print(f, "column,seq,kind,sent_ns,spent,spent_for_us,rtt_us,first_vhost_us,first_vcpu_us\n");
    for (std::size_t i = 0; i < packets.size(); ++i) {
        const Packet& p = packets[i];
        const std::string rtt = p.answered ? fmt::format("{:.1f}", static_cast<double>(*p.answered - p.sent) / 1e3) : "";
        const auto vhost = [&](int tid) { return watch.is_vhost(tid); };
        const auto vcpu = [&](int tid) { return tid == watch.vcpu(); };
        fmt::print(f, "{},{},{},{},{},{:.1f},{},{},{}\n", o.column, o.first + i, p.kind, p.sent, p.spent ? 1 : 0,
                   static_cast<double>(p.spent_for) / 1e3, rtt, first_run_us(watch, p.sent, vhost), first_run_us(watch, p.sent, vcpu));
    }
    if (std::fclose(f) != 0)
        fail(o.packets);
}

void write_switches(const Options& o, const CpuWatch& watch, const std::vector<Packet>& packets)
{
    std::FILE* f = std::fopen(o.switches.c_str(), "we");
    if (f == nullptr)
        fail(o.switches);
    fmt::print(f, "seq,at_us,next\n");    // at_us: relative to the packet; next: vcpu, vhost, qemu, idle or host
    for (std::size_t i = 0; i < packets.size(); ++i) {
        const Ns sent = packets[i].sent;
        auto s = std::lower_bound(watch.switches.begin(), watch.switches.end(), sent - 60 * ms,
                                  [](const Switch& a, Ns t) { return a.t < t; });
        if (s != watch.switches.begin())    // what was running when the window begins
            fmt::print(f, "{},-60000.0,{}\n", o.first + i, watch.kind_of(std::prev(s)->next));
        for (; s != watch.switches.end() && s->t < sent + 120 * ms; ++s) {
            fmt::print(f, "{},{:.1f},{}\n", o.first + i, static_cast<double>(s->t - sent) / 1e3, watch.kind_of(s->next));
        }
    }
    if (std::fclose(f) != 0)
        fail(o.switches);
}

// Share of the time between the first and the last switch that the vCPU and the VM's other threads were on the CPU.
void print_shares(const CpuWatch& watch)
{
    Ns vcpu = 0, other = 0;
    const auto& sw = watch.switches;
    for (std::size_t i = 0; i + 1 < sw.size(); ++i) {
        const Ns length = sw[i + 1].t - sw[i].t;
        if (sw[i].next == watch.vcpu())
            vcpu += length;
        else if (watch.is_vm(sw[i].next))
            other += length;
    }
    const Ns all = sw.size() > 1 ? sw.back().t - sw.front().t : 0;
    if (all > 0)
        fmt::print("vcpu_share {:.5f}\nother_share {:.5f}\n", static_cast<double>(vcpu) / static_cast<double>(all),
                   static_cast<double>(other) / static_cast<double>(all));
    fmt::print("switches {}\nlost_records {}\n", sw.size(), watch.lost);
}

struct Threads {
    std::set<int> all, vhost;
};

Threads threads_of(int pid)
{
    Threads threads;
    std::error_code error;
    for (const auto& entry : std::filesystem::directory_iterator(fmt::format("/proc/{}/task", pid), error)) {
        const int tid = std::stoi(entry.path().filename().string());
        std::string comm;
        std::ifstream(entry.path() / "comm") >> comm;
        threads.all.insert(tid);
        if (comm.starts_with("vhost-"))
            threads.vhost.insert(tid);
    }
    if (error) {
        errno = error.value();
        fail(fmt::format("threads of process {}", pid));
    }
    return threads;
}

void become_realtime(int cpu)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(static_cast<unsigned>(cpu), &set);
    const sched_param param{.sched_priority = own_priority};
    if (sched_setaffinity(0, sizeof set, &set) != 0 || sched_setscheduler(0, SCHED_FIFO, &param) != 0 ||
        mlockall(MCL_CURRENT | MCL_FUTURE) != 0)
        fail("real-time priority on its own CPU");
}

}  // namespace

int main(int argc, char** argv)
{
    Options o;
    cli::App app{"Ping a VM on a fixed schedule, knowing for each packet whether the VM's budget was spent."};
    app.add_option("--target", o.target, "IPv4 address of the guest")->required();
    app.add_option("--vm-pid", o.vm_pid, "process of the VM")->required();
    app.add_option("--vcpu-tid", o.vcpu_tid, "thread of its vCPU")->required();
    app.add_option("--vm-cpu", o.vm_cpu, "CPU that the VM runs on")->capture_default_str();
    app.add_option("--own-cpu", o.own_cpu, "CPU of the probe")->capture_default_str();
    app.add_option("--count", o.count, "packets")->capture_default_str()->check(cli::Range(1u, 60000u));
    app.add_option("--first", o.first, "number of the first one")->capture_default_str()->check(cli::Range(1u, 60000u));
    app.add_option("--seed", o.seed, "of the schedule")->capture_default_str();
    app.add_option("--aim-limit", o.aim_limit_ms, "ms to wait for an exhaustion")->capture_default_str();
    app.add_option("--spread", o.spread_ms, "ms over which the gaps before packets are spread")->capture_default_str()->check(cli::Range(1u, 1000u));
    app.add_option("--column", o.column, "name in the CSV")->capture_default_str();
    app.add_option("--packets", o.packets, "CSV of packets")->required();
    app.add_option("--switches", o.switches, "CSV of context switches around each packet");
    if (const auto status = app.parse(argc, argv))
        return *status;

    become_realtime(o.own_cpu);
    const Threads threads = threads_of(o.vm_pid);
    CpuWatch watch(o.vm_cpu, o.vcpu_tid, threads.all, threads.vhost);
    Pinger pinger(o.target);
    const std::vector<Packet> packets = run_schedule(o, watch, pinger);
    write_packets(o, watch, packets);
    if (!o.switches.empty())
        write_switches(o, watch, packets);
    print_shares(watch);
    return 0;
}
