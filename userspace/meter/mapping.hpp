// SPDX-License-Identifier: GPL-2.0-only
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <utility>

#include "util/result.hpp"

namespace spare {

// The memory of a BPF map (BPF_F_MMAPABLE), for as long as this lives.
class Mapping {
 public:
  Mapping() = default;
  Mapping(Mapping&& other) noexcept : at_(std::exchange(other.at_, nullptr)), size_(other.size_) {}
  Mapping& operator=(Mapping&& other) noexcept {
    std::swap(at_, other.at_);
    std::swap(size_, other.size_);
    return *this;
  }
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;
  ~Mapping() {
    if (at_ != nullptr) {
      ::munmap(at_, size_);
    }
  }

  static Result<Mapping> of(int map, std::size_t size, bool writable) {
    const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
    size = (size + page - 1) / page * page;
    void* at = ::mmap(nullptr, size, writable ? PROT_READ | PROT_WRITE : PROT_READ, MAP_SHARED, map, 0);
    if (at == MAP_FAILED) {
      return errno_error("the meter's counters cannot be mapped");
    }
    Mapping mapping;
    mapping.at_ = at;
    mapping.size_ = size;
    return mapping;
  }

  template <typename T>
  [[nodiscard]] T* as() const {
    return static_cast<T*>(at_);
  }

 private:
  void* at_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace spare
