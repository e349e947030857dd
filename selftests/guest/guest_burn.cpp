// SPDX-License-Identifier: GPL-2.0-only
//
// guest_burn - the nested guest's workload: computes on every vCPU and reports how fast.
//
//   guest_burn [--rest] [HOST_IPV4 PORT]
//
// One thread per vCPU runs a dependent integer chain at nice 19; a loop is 1024 steps of it. (With --rest it burns at no cost of the
// machine that emulates the host, see tools/resting.cpp, and makes no loops.) A further thread sends a datagram
//
//   burn SEQ MONOTONIC_NS LOOPS
//
// to HOST:PORT at uneven intervals of 90 to 170 ms (uneven so that samples do not lock to the period of a reservation; a
// datagram costs one exit, a line on the serial console one per character), and one line on stdout at the start. LOOPS counts
// all threads since the start; throughput is its slope over MONOTONIC_NS. Never returns; exits 1 on a bad argument.

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <memory>
#include <thread>
#include <vector>

#include "rest.h"

namespace {

constexpr std::uint64_t steps_per_loop = 1024;

struct alignas(128) Counter {
    std::atomic<std::uint64_t> loops{0};
};

std::uint64_t now_ns()
{
    timespec ts{};
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return static_cast<std::uint64_t>(ts.tv_sec) * 1'000'000'000u + static_cast<std::uint64_t>(ts.tv_nsec);
}

[[noreturn]] void burn(Counter& counter)
{
    setpriority(PRIO_PROCESS, 0, 19);   // of this thread: Linux keeps a nice value per thread
    std::uint64_t x = 88172645463325252u;
    for (std::uint64_t n = 1;; ++n) {
        for (std::uint64_t i = 0; i < steps_per_loop; ++i) {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
        }
        asm volatile("" : : "r"(x));
        counter.loops.store(n, std::memory_order_relaxed);
    }
}

[[noreturn]] void burn_at_rest()
{
    setpriority(PRIO_PROCESS, 0, 19);
    for (;;)
        rest();
}

void sleep_ms(unsigned ms)
{
    timespec ts{.tv_sec = 0, .tv_nsec = static_cast<long>(ms) * 1'000'000};
    nanosleep(&ts, nullptr);
}

}  // namespace

int main(int argc, char** argv)
{
    sockaddr_in to{};
    to.sin_family = AF_INET;
    const bool rests = argc > 1 && !std::strcmp(argv[1], "--rest");
    if (rests) {
        --argc;
        ++argv;
    }
    const bool report = argc == 3;
    if (argc != 1 && !report) {
        std::fprintf(stderr, "usage: guest_burn [--rest] [HOST_IPV4 PORT]\n");
        return 1;
    }
    if (report) {
        const long port = std::strtol(argv[2], nullptr, 10);
        if (inet_pton(AF_INET, argv[1], &to.sin_addr) != 1 || port < 1 || port > 65535) {
            std::fprintf(stderr, "guest_burn: bad address '%s' or port '%s'\n", argv[1], argv[2]);
            return 1;
        }
        to.sin_port = htons(static_cast<std::uint16_t>(port));
    }

    const unsigned n = std::thread::hardware_concurrency();
    const auto counters = std::make_unique<Counter[]>(n);
    for (unsigned i = 0; i < n; ++i) {
        if (rests)
            std::thread(burn_at_rest).detach();
        else
            std::thread(burn, std::ref(counters[i])).detach();
    }
    std::printf("guest_burn: %u threads\n", n);
    std::fflush(stdout);

    const int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    std::uint32_t lcg = 1;
    for (std::uint64_t seq = 0;; ++seq) {
        lcg = lcg * 1664525u + 1013904223u;
        sleep_ms(90 + (lcg >> 8) % 81);
        if (!report)
            continue;
        std::uint64_t loops = 0;
        for (unsigned i = 0; i < n; ++i)
            loops += counters[i].loops.load(std::memory_order_relaxed);
        char line[96];
        const int len = std::snprintf(line, sizeof line, "burn %llu %llu %llu\n", static_cast<unsigned long long>(seq),
                                      static_cast<unsigned long long>(now_ns()), static_cast<unsigned long long>(loops));
        // Best effort: a lost sample costs nothing, the slope is taken over many.
        (void)sendto(fd, line, static_cast<std::size_t>(len), MSG_DONTWAIT, reinterpret_cast<const sockaddr*>(&to), sizeof to);
    }
}
