/* SPDX-License-Identifier: GPL-2.0-only */
/* jump_cache.cpp, for global_pages.cpp, which knows what QEMU is to forget. */
#ifndef SPARE_JUMP_CACHE_H
#define SPARE_JUMP_CACHE_H

#include <cstdint>

struct Cpu; /* QEMU's CPUState */

namespace jump_cache {

/* QEMU's code lies from text_begin to text_end. To be called before an emulated CPU runs. In a QEMU that is built otherwise nothing is changed: it is slow then. */
void begin(uintptr_t text_begin, uintptr_t text_end);

/* What is known of the CPU's user half, and, kernel: of the other one, is no longer so. The CPU's own thread calls, or one for which all CPUs stand still. */
void forget(Cpu *cpu, bool kernel);

} // namespace jump_cache

#endif /* SPARE_JUMP_CACHE_H */
