// SPDX-License-Identifier: GPL-2.0-only
//
// Numbers and texts in a row of bytes: LEB128, seven bits a byte, the least first; of numbers with a sign, the sign in the lowest bit.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace sparectl::top {

class ByteWriter {
 public:
  void number(std::uint64_t n) {
    for (; n >= 0x80; n >>= 7) {
      bytes_ += static_cast<char>(n | 0x80);
    }
    bytes_ += static_cast<char>(n);
  }
  // Small in both directions, and modulo 2^64.
  void difference(std::uint64_t before, std::uint64_t now) {
    const std::uint64_t d = now - before;
    number(d << 1 ^ (0 - (d >> 63)));
  }
  void text(std::string_view text) {
    number(text.size());
    bytes_ += text;
  }
  [[nodiscard]] std::string take() { return std::move(bytes_); }

 private:
  std::string bytes_;
};

// What is beyond the end, or no number, reads as 0 and empty, and failed() is true from then on.
class ByteReader {
 public:
  explicit ByteReader(std::string_view bytes) : left_(bytes) {}

  std::uint64_t number() {
    std::uint64_t n = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
      if (left_.empty()) {
        break;
      }
      const auto byte = static_cast<unsigned char>(left_[0]);
      left_.remove_prefix(1);
      n |= std::uint64_t{byte & 0x7fU} << shift;
      if (byte < 0x80) {
        return n;
      }
    }
    fail();
    return 0;
  }
  std::uint64_t after(std::uint64_t before) {
    const std::uint64_t n = number();
    return before + (n >> 1 ^ (0 - (n & 1)));
  }
  std::string_view text() {
    const std::uint64_t n = number();
    if (n > left_.size()) {
      fail();
      return {};
    }
    const auto text = left_.substr(0, n);
    left_.remove_prefix(n);
    return text;
  }
  // How many follow, each of at least a byte.
  std::size_t count() {
    const std::uint64_t n = number();
    if (n > left_.size()) {
      fail();
      return 0;
    }
    return n;
  }
  [[nodiscard]] bool failed() const { return failed_; }
  [[nodiscard]] bool at_end() const { return left_.empty(); }

 private:
  void fail() {
    failed_ = true;
    left_ = {};
  }
  std::string_view left_;
  bool failed_ = false;
};

}  // namespace sparectl::top
