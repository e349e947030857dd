// SPDX-License-Identifier: GPL-2.0-only
#pragma once

#include <cstddef>

// A BPF hash without a kernel, for what reads and writes it by libbpf's functions: its "file descriptor". Sizes in bytes.
int make_fake_map(std::size_t key, std::size_t value);
