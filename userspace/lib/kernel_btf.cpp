// SPDX-License-Identifier: GPL-2.0-only
#include "kernel_btf.hpp"

#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <gelf.h>
#include <libelf.h>

#include <algorithm>
#include <set>

#include "util/files.hpp"

namespace spare {
namespace {

constexpr const char* implicit_argument_type = "bpf_prog_aux";
constexpr const char* twin_suffix = "_impl";

// Is the last parameter of the function a pointer to struct bpf_prog_aux?
bool takes_prog_aux(const btf* types, __u32 function) {
  const btf_type* prototype = btf__type_by_id(types, btf__type_by_id(types, function)->type);
  if (prototype == nullptr || !btf_is_func_proto(prototype) || btf_vlen(prototype) == 0) {
    return false;
  }
  const btf_param& last = btf_params(prototype)[btf_vlen(prototype) - 1];
  const btf_type* type = btf__type_by_id(types, last.type);
  if (type == nullptr || !btf_is_ptr(type)) {
    return false;
  }
  type = btf__type_by_id(types, type->type);
  while (type != nullptr && btf_is_mod(type)) {
    type = btf__type_by_id(types, type->type);
  }
  return type != nullptr && btf_is_composite(type) &&
         std::string_view(btf__name_by_offset(types, type->name_off)) == implicit_argument_type;
}

// The undefined symbols of an ELF object.
Result<std::set<std::string>> undefined_symbols(const void* bytes, size_t size) {
  if (elf_version(EV_CURRENT) == EV_NONE) {
    return Error{"libelf is older than its header"};
  }
  // libelf does not write to an image opened this way, but its interface is from before const.
  const std::unique_ptr<Elf, int (*)(Elf*)> elf(elf_memory(static_cast<char*>(const_cast<void*>(bytes)), size), elf_end);
  if (!elf) {
    return Error{std::string("the BPF object cannot be read: ") + elf_errmsg(-1)};
  }
  std::set<std::string> symbols;
  for (Elf_Scn* section = elf_nextscn(elf.get(), nullptr); section != nullptr; section = elf_nextscn(elf.get(), section)) {
    GElf_Shdr header;
    if (gelf_getshdr(section, &header) == nullptr || header.sh_type != SHT_SYMTAB) {
      continue;
    }
    Elf_Data* data = elf_getdata(section, nullptr);
    if (data == nullptr || header.sh_entsize == 0) {
      return Error{std::string("the BPF object is damaged: its symbols cannot be read: ") + elf_errmsg(-1)};
    }
    // (Not sh_size, of which a damaged file may say anything: what there is.)
    for (size_t i = 0; i < data->d_size / header.sh_entsize; i++) {
      GElf_Sym symbol;
      if (gelf_getsym(data, static_cast<int>(i), &symbol) == nullptr) {
        return Error{std::string("the BPF object is damaged: a symbol cannot be read: ") + elf_errmsg(-1)};
      }
      if (symbol.st_shndx != SHN_UNDEF) {
        continue;
      }
      const char* name = elf_strptr(elf.get(), header.sh_link, symbol.st_name);
      if (name != nullptr && *name != '\0') {
        symbols.insert(name);
      }
    }
  }
  return symbols;
}

}  // namespace

void KernelBtf::Free::operator()(btf* object) const { btf__free(object); }

KernelBtf::KernelBtf(btf* object) : btf_(object) {
  for (__u32 id = 1; id < btf__type_cnt(object); id++) {
    const btf_type* type = btf__type_by_id(object, id);
    if (btf_is_func(type)) {
      functions_.emplace(btf__name_by_offset(object, type->name_off), id);
    }
  }
}

Result<KernelBtf> KernelBtf::open(const std::filesystem::path& file) {
  btf* object = btf__parse(file.c_str(), nullptr);
  if (object == nullptr) {
    return errno_error(file.string());
  }
  return KernelBtf(object);
}

Result<KernelBtf> KernelBtf::open_module(const std::filesystem::path& file, const KernelBtf& base) {
  btf* object = btf__parse_split(file.c_str(), base.btf_.get());
  if (object == nullptr) {
    return errno_error(file.string());
  }
  return KernelBtf(object);
}

NeedState KernelBtf::state(std::string_view need) const {
  if (const size_t bar = need.find('|'); bar != std::string_view::npos) {
    return std::min(state(need.substr(0, bar)), state(need.substr(bar + 1)));
  }
  if (need.find('.') != std::string_view::npos) {
    return has_field(need) ? NeedState::whole : NeedState::missing;
  }
  const auto function = functions_.find(need);
  if (function == functions_.end()) {
    return NeedState::missing;
  }
  return takes_prog_aux(btf_.get(), function->second) && !functions_.contains(std::string(need) + twin_suffix)
             ? NeedState::broken
             : NeedState::whole;
}

bool KernelBtf::has_field(std::string_view path) const {
  const auto names = split(path, ".");
  __s32 id = btf__find_by_name_kind(btf_.get(), names.front().c_str(), BTF_KIND_STRUCT);
  for (size_t i = 1; i < names.size() && id > 0; i++) {
    const btf_type* type = btf__type_by_id(btf_.get(), static_cast<__u32>(id));
    id = 0;
    for (unsigned m = 0; btf_is_composite(type) && m < btf_vlen(type); m++) {
      if (names[i] == btf__name_by_offset(btf_.get(), btf_members(type)[m].name_off)) {
        id = static_cast<__s32>(btf_members(type)[m].type);
      }
    }
  }
  return id > 0;
}

Result<std::vector<std::string>> kfuncs_of_object(const void* bytes, size_t size) {
  const auto symbols = undefined_symbols(bytes, size);
  if (!symbols) {
    return symbols.error();
  }
  const std::unique_ptr<bpf_object, void (*)(bpf_object*)> object(bpf_object__open_mem(bytes, size, nullptr),
                                                                  bpf_object__close);
  if (!object) {
    return errno_error("the BPF object cannot be read");
  }
  const btf* types = bpf_object__btf(object.get());
  // libbpf rewrites the section of external symbols when it opens an object, so look at the functions themselves.
  std::vector<std::string> kfuncs;
  for (__u32 id = 1; types != nullptr && id < btf__type_cnt(types); id++) {
    const btf_type* type = btf__type_by_id(types, id);
    if (!btf_is_func(type)) {
      continue;
    }
    const std::string declared = btf__name_by_offset(types, type->name_off);
    if (!symbols->contains(declared)) {
      continue;
    }
    kfuncs.push_back(declared.substr(0, declared.rfind("___")));  // what follows tells declarations of one kfunc apart
  }
  return kfuncs;
}

}  // namespace spare
