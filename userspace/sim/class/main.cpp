// SPDX-License-Identifier: GPL-2.0-only
//
// class_fuzz SEED EVENTS [--trace]: a host drawn from SEED for so many events; the last of them where something is wrong.
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "world.hpp"

int main(int argc, char** argv) {
  if (argc < 3) {
    std::fprintf(stderr, "usage: %s SEED EVENTS [--trace]\n", argv[0]);
    return 2;
  }
  const std::uint64_t seed = std::strtoull(argv[1], nullptr, 0), events = std::strtoull(argv[2], nullptr, 0);
  const auto begin = std::chrono::steady_clock::now();
  spare::model::World world(seed, static_cast<unsigned>(1 + seed % 4));
  world.verbose = argc > 3 && !std::strcmp(argv[3], "--trace");
  try {
    world.run(events);
  } catch (const spare::model::Violation&) {
    std::printf("seed %llu: event %llu\n", static_cast<unsigned long long>(seed), static_cast<unsigned long long>(world.events()));
    return 1;
  }
  const double took = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  std::printf("seed %llu: %llu events, %.3f s of the host's time, %.0f events/s\n", static_cast<unsigned long long>(seed),
              static_cast<unsigned long long>(world.events()), static_cast<double>(world.now()) * 1e-9, static_cast<double>(events) / took);
  world.print_summary();
  return 0;
}
