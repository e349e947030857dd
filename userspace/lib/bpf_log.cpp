// SPDX-License-Identifier: GPL-2.0-only
#include "bpf_log.hpp"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include <cstdarg>
#include <cstdio>

#include "util/files.hpp"

namespace spare {
namespace {

constexpr size_t log_lines_shown = 12;

std::string* captured_log = nullptr;

int capture(libbpf_print_level level, const char* format, va_list arguments) {
  if (level == LIBBPF_DEBUG || captured_log == nullptr) {
    return 0;
  }
  // A verifier log comes in one piece, of any length, and its end is what matters.
  va_list again;
  va_copy(again, arguments);
  const int n = std::vsnprintf(nullptr, 0, format, arguments);
  if (n > 0) {
    std::string text(static_cast<size_t>(n) + 1, '\0');
    std::vsnprintf(text.data(), text.size(), format, again);
    text.pop_back();
    captured_log->append(text);
  }
  va_end(again);
  return n;
}

}  // namespace

BpfLog::BpfLog() {
  captured_log = &text_;
  libbpf_set_print(capture);
}

BpfLog::~BpfLog() { captured_log = nullptr; }

std::string BpfLog::tail() const {
  const auto lines = split(text_, "\n");
  std::string result;
  for (size_t i = lines.size() > log_lines_shown ? lines.size() - log_lines_shown : 0; i < lines.size(); i++) {
    result += "\n    " + lines[i];
  }
  return result;
}

std::uint64_t verified_instructions(const bpf_object* object) {
  std::uint64_t sum = 0;
  bpf_program* program = nullptr;
  bpf_object__for_each_program(program, object) {
    bpf_prog_info info{};
    __u32 size = sizeof(info);
    if (bpf_prog_get_info_by_fd(bpf_program__fd(program), &info, &size) == 0) {
      sum += info.verified_insns;
    }
  }
  return sum;
}

}  // namespace spare
