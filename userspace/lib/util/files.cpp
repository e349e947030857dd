// SPDX-License-Identifier: GPL-2.0-only
#include "util/files.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>

namespace spare {
namespace {

// Length of the well-formed UTF-8 character at the beginning (Unicode 15, table 3-7), without the control characters of C1; 0: none.
size_t utf8_length(std::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(i < text.size() ? text[i] : 0); };
  const auto follow = [&](size_t from, size_t to) {
    for (size_t i = from; i < to; i++) {
      if ((byte(i) & 0xc0) != 0x80) {
        return size_t{0};
      }
    }
    return to;
  };
  const unsigned char first = byte(0), second = byte(1);
  if (first < 0x80) {
    return 1;
  }
  if (first < 0xc2 || first > 0xf4 || (first == 0xc2 && second < 0xa0)) {
    return 0;
  }
  if ((first == 0xe0 && second < 0xa0) || (first == 0xed && second > 0x9f) || (first == 0xf0 && second < 0x90) ||
      (first == 0xf4 && second > 0x8f)) {
    return 0;
  }
  return follow(1, first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4);
}

// A control character of ASCII, the end of a line or paragraph, or one that turns the direction of text (UAX #9, table 1).
bool is_control(std::string_view character) {
  const auto last = static_cast<unsigned char>(character.back());
  return (character.size() == 1 && (last < 0x20 || last == 0x7f)) || character == "\u061c" ||
         (character.starts_with("\xe2\x80") && (last == 0x8e || last == 0x8f || (last >= 0xa8 && last <= 0xae))) ||
         (character.starts_with("\xe2\x81") && last >= 0xa6 && last <= 0xa9);
}

}  // namespace

Result<std::string> read_file_at(int dir, const std::string& name, std::size_t limit) {
  const Fd fd(::openat(dir, name.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) {
    return errno_error(name);
  }
  std::string text;
  char buffer[4096];
  for (;;) {
    const ssize_t n = ::read(fd.get(), buffer, sizeof(buffer));
    if (n < 0 && errno == EINTR) {
      continue;
    }
    if (n < 0) {
      return errno_error(name);
    }
    text.append(buffer, static_cast<size_t>(n));
    if (n == 0 || text.size() >= limit) {
      text.resize(std::min(text.size(), limit));
      return text;
    }
  }
}

Result<void> write_file_at(int dir, const std::string& name, std::string_view text) {
  const Fd fd(::openat(dir, name.c_str(), O_WRONLY | O_TRUNC | O_CLOEXEC));
  if (!fd) {
    return errno_error(name);
  }
  // An empty write() never reaches a control file's handler: a lone newline means "empty" to the kernel's parsers.
  const std::string_view data = text.empty() ? std::string_view("\n") : text;
  ssize_t n;
  do {
    n = ::write(fd.get(), data.data(), data.size());
  } while (n < 0 && errno == EINTR);
  if (n < 0) {
    return errno_error(name);
  }
  if (static_cast<size_t>(n) != data.size()) {
    return Error{name + ": only a part of the value was taken", EIO};
  }
  return {};
}

std::string_view trim(std::string_view text) {
  constexpr std::string_view blank = " \t\r\n";
  const size_t first = text.find_first_not_of(blank);
  if (first == std::string_view::npos) {
    return {};
  }
  return text.substr(first, text.find_last_not_of(blank) - first + 1);
}

std::vector<std::string> split(std::string_view text, std::string_view separators) {
  std::vector<std::string> words;
  size_t begin = text.find_first_not_of(separators);
  while (begin != std::string_view::npos) {
    const size_t end = text.find_first_of(separators, begin);
    words.emplace_back(text.substr(begin, end - begin));
    begin = end == std::string_view::npos ? end : text.find_first_not_of(separators, end);
  }
  return words;
}

std::string printable(std::string_view text, std::size_t most) {
  std::string shown;
  for (; !text.empty() && most > 0; most--) {
    const size_t n = std::max<size_t>(utf8_length(text), 1);
    const std::string_view character = text.substr(0, n);
    if (utf8_length(text) == 0 || is_control(character)) {
      for (const char byte : character) {
        shown += fmt::format("\\x{:02x}", static_cast<unsigned char>(byte));
      }
    } else {
      shown += character;
    }
    text.remove_prefix(n);
  }
  return text.empty() ? shown : shown + "...";
}

std::string printable_lines(std::string_view text) {
  std::string shown;
  for (size_t end = 0; (end = text.find('\n')) != std::string_view::npos; text.remove_prefix(end + 1)) {
    shown += printable(text.substr(0, end)) + "\n";
  }
  return shown + printable(text);
}

}  // namespace spare
