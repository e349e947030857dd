// SPDX-License-Identifier: GPL-2.0-only
//
// Errors are values. A function that can fail for a reason outside the program returns Result<T>; its caller handles the
// error or adds what it was doing and passes it on. Nothing here throws, logs or exits.
#pragma once

#include <cerrno>
#include <cstring>
#include <string>
#include <string_view>
#include <utility>
#include <variant>

namespace spare {

// What went wrong, in words for the person who has to act on it. code is an errno value, or 0 when there is none.
struct Error {
  std::string text;
  int code = 0;

  // The same error with what was being done in front of it.
  [[nodiscard]] Error while_doing(std::string_view what) const { return {std::string(what) + ": " + text, code}; }
};

[[nodiscard]] inline Error errno_error(std::string_view what, int code) {
  return {std::string(what) + ": " + std::strerror(code), code};
}
[[nodiscard]] inline Error errno_error(std::string_view what) { return errno_error(what, errno); }

template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::move(value)) {}      // NOLINT(google-explicit-constructor): return value;
  Result(Error error) : state_(std::move(error)) {}  // NOLINT(google-explicit-constructor): return error;

  explicit operator bool() const { return std::holds_alternative<T>(state_); }
  [[nodiscard]] const T& operator*() const& { return std::get<T>(state_); }
  [[nodiscard]] T& operator*() & { return std::get<T>(state_); }
  [[nodiscard]] T&& operator*() && { return std::get<T>(std::move(state_)); }
  [[nodiscard]] const T* operator->() const { return &std::get<T>(state_); }
  [[nodiscard]] T* operator->() { return &std::get<T>(state_); }
  [[nodiscard]] const Error& error() const { return std::get<Error>(state_); }

 private:
  std::variant<T, Error> state_;
};

template <>
class [[nodiscard]] Result<void> {
 public:
  Result() = default;
  Result(Error error) : error_(std::move(error)), ok_(false) {}  // NOLINT(google-explicit-constructor)

  explicit operator bool() const { return ok_; }
  [[nodiscard]] const Error& error() const { return error_; }

 private:
  Error error_;
  bool ok_ = true;
};

}  // namespace spare
