// SPDX-License-Identifier: GPL-2.0-only
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "util/result.hpp"

struct btf;

namespace spare {

// What the class needs, as the lines of kfuncs.txt say it: "kfunc", "newer|older" (one of them), "struct.field".
struct Needs {
  std::vector<std::string> of_kernel, of_module;
};

enum class NeedState {
  whole,    // can be used
  broken,   // a kfunc that is there, but its type information cannot be used: see KernelBtf::state()
  missing,  // not in this kernel
};

// The type information (BTF) of the kernel, or of a module on top of it.
class KernelBtf {
 public:
  static Result<KernelBtf> open(const std::filesystem::path& file);
  static Result<KernelBtf> open_module(const std::filesystem::path& file, const KernelBtf& base);

  // A kfunc with an implicit argument (the kernel passes its struct bpf_prog_aux) must have two prototypes: the public
  // one without that argument and a twin <name>_impl with it. Kernels built with pahole older than 1.31 lack some twins;
  // the public name then still carries the argument and the verifier refuses every program that calls it.
  [[nodiscard]] NeedState state(std::string_view need) const;

 private:
  struct Free {
    void operator()(btf* object) const;
  };
  explicit KernelBtf(btf* object);
  [[nodiscard]] bool has_field(std::string_view path) const;
  std::unique_ptr<btf, Free> btf_;
  std::unordered_map<std::string_view, unsigned> functions_;  // id by name: 100 000 types are looked through once
};

// The kfuncs that a BPF object file (its bytes) calls, by the names that libbpf looks for.
Result<std::vector<std::string>> kfuncs_of_object(const void* bytes, size_t size);

}  // namespace spare
