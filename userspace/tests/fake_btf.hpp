// SPDX-License-Identifier: GPL-2.0-only
#pragma once

#include <bpf/btf.h>

#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

// A function as a kernel's BTF has it; does its last parameter point to struct bpf_prog_aux?
struct FakeKfunc {
  std::string name;
  bool takes_prog_aux;
};

// Writes BTF with these functions, and the field outer.in.x.
inline void write_fake_btf(const std::filesystem::path& path, const std::vector<FakeKfunc>& functions) {
  const std::unique_ptr<btf, void (*)(btf*)> types(btf__new_empty(), btf__free);
  const int number = btf__add_int(types.get(), "int", 4, BTF_INT_SIGNED);
  const int aux = btf__add_struct(types.get(), "bpf_prog_aux", 4);
  btf__add_field(types.get(), "x", number, 0, 0);
  const int aux_pointer = btf__add_ptr(types.get(), aux);
  const int inner = btf__add_struct(types.get(), "inner", 4);
  btf__add_field(types.get(), "x", number, 0, 0);
  btf__add_struct(types.get(), "outer", 8);
  btf__add_field(types.get(), "other", number, 0, 0);
  btf__add_field(types.get(), "in", inner, 32, 0);
  for (const FakeKfunc& function : functions) {
    const int prototype = btf__add_func_proto(types.get(), number);
    btf__add_func_param(types.get(), "a", number);
    if (function.takes_prog_aux) {
      btf__add_func_param(types.get(), "aux", aux_pointer);
    }
    btf__add_func(types.get(), function.name.c_str(), BTF_FUNC_GLOBAL, prototype);
  }
  __u32 size = 0;
  const void* data = btf__raw_data(types.get(), &size);
  std::filesystem::create_directories(path.parent_path());
  std::ofstream(path, std::ios::binary).write(static_cast<const char*>(data), size);
}
