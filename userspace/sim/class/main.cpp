// SPDX-License-Identifier: GPL-2.0-only
//
// class_fuzz SEED[-LAST] EVENTS [--trace]: a host drawn from SEED for so many events; the last of them where something is wrong.
// Built with -DSPARE_FUZZER and -fsanitize=fuzzer it takes a fuzzer's input instead.
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "world.hpp"

using spare::model::Draw;
using spare::model::Violation;
using spare::model::World;

#ifdef SPARE_FUZZER

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 64) return 0;  // that is not yet a host
  World world(Draw(data + 1, size - 1), 1 + data[0] % 4);
  try {
    while (world.random().fed()) world.run(world.events() + 100);
    world.run(world.events() + 300);
  } catch (const Violation&) {
    std::abort();
  }
  return 0;
}

#else

namespace {

const World* current;
unsigned long long current_seed;

// BPF makes 0 of it, and goes on. (UBSan speaks first, where it is there.)
[[noreturn]] void divides(int) {
  std::printf("%.6f: the class divides by 0\nseed %llu: event %llu\n", static_cast<double>(current->now()) * 1e-9, current_seed,
              static_cast<unsigned long long>(current->events()));
  std::fflush(stdout);
  std::_Exit(1);
}

bool run(unsigned long long seed, unsigned long long events, bool verbose) {
  const auto begin = std::chrono::steady_clock::now();
  World world(Draw(seed), static_cast<unsigned>(1 + seed % 4));
  world.verbose = verbose;
  current = &world;
  current_seed = seed;
  try {
    world.run(events);
  } catch (const Violation&) {
    std::printf("seed %llu: event %llu\n", seed, static_cast<unsigned long long>(world.events()));
    return false;
  }
  const double took = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  std::printf("seed %llu: %llu events, %.3f s of the host's time, %.0f events/s\n", seed, events, static_cast<double>(world.now()) * 1e-9,
              static_cast<double>(events) / took);
  world.print_summary();
  return true;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) {
    std::fprintf(stderr, "usage: %s SEED[-LAST] EVENTS [--trace]\n", argv[0]);
    return 2;
  }
  std::signal(SIGFPE, divides);
  char* end;
  const unsigned long long first = std::strtoull(argv[1], &end, 0), last = *end == '-' ? std::strtoull(end + 1, nullptr, 0) : first;
  for (unsigned long long seed = first; seed <= last; seed++)
    if (!run(seed, std::strtoull(argv[2], nullptr, 0), argc > 3 && !std::strcmp(argv[3], "--trace"))) return 1;
  return 0;
}

#endif
