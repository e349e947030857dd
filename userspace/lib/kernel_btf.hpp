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

// A kernel function that the class calls.
struct Kfunc {
  std::string name;
  bool optional = false;  // one of several declarations (name___flavour), guarded by bpf_ksym_exists()
};

enum class KfuncState {
  whole,    // can be called
  missing,  // not in this kernel
  broken,   // there, but its type information cannot be used: see KernelBtf::state()
};

// The type information (BTF) of the kernel, or of a module on top of it.
class KernelBtf {
 public:
  static Result<KernelBtf> open(const std::filesystem::path& file);
  static Result<KernelBtf> open_module(const std::filesystem::path& file, const KernelBtf& base);

  // A kfunc with an implicit argument (the kernel passes its struct bpf_prog_aux) must have two prototypes: the public
  // one without that argument and a twin <name>_impl with it. Kernels built with pahole older than 1.31 lack some twins;
  // the public name then still carries the argument and the verifier refuses every program that calls it.
  [[nodiscard]] KfuncState state(const std::string& kfunc) const;

 private:
  struct Free {
    void operator()(btf* object) const;
  };
  explicit KernelBtf(btf* object);
  std::unique_ptr<btf, Free> btf_;
  std::unordered_map<std::string_view, unsigned> functions_;  // id by name: 100 000 types are looked through once
};

// The kfuncs that a BPF object file (its bytes) calls.
Result<std::vector<Kfunc>> kfuncs_of_object(const void* bytes, size_t size);

}  // namespace spare
