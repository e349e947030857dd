// SPDX-License-Identifier: GPL-2.0-only
#include <catch2/catch_test_macros.hpp>

#include <elf.h>

#include <cstddef>
#include <cstring>
#include <set>

#include "class_loader.hpp"
#include "fake_btf.hpp"
#include "fake_tree.hpp"
#include "util/files.hpp"

using spare::KernelBtf;
using spare::NeedState;

TEST_CASE("LIFE-5: a kfunc is whole, missing, or lacks its twin") {
  FakeTree tree;
  write_fake_btf(tree.root() / "btf", {{"plain", false}, {"whole", false}, {"whole_impl", true}, {"broken", true}});
  const auto types = KernelBtf::open(tree.root() / "btf");
  REQUIRE(types);
  CHECK(types->state("plain") == NeedState::whole);
  CHECK(types->state("whole") == NeedState::whole);
  CHECK(types->state("broken") == NeedState::broken);
  CHECK(types->state("absent") == NeedState::missing);
  CHECK_FALSE(KernelBtf::open(tree.root() / "none"));
}

TEST_CASE("LIFE-5: of two forms of a kfunc one has to be whole") {
  FakeTree tree;
  const auto state = [&](const std::vector<FakeKfunc>& functions) {
    write_fake_btf(tree.root() / "btf", functions);
    const auto types = KernelBtf::open(tree.root() / "btf");
    REQUIRE(types);
    return types->state("f___v2|f");
  };
  CHECK(state({{"f___v2", false}}) == NeedState::whole);
  CHECK(state({{"f", false}}) == NeedState::whole);
  CHECK(state({{"f___v2", false}, {"f", false}}) == NeedState::whole);
  CHECK(state({{"f___v2", true}, {"f", false}}) == NeedState::whole);
  CHECK(state({{"f___v2", false}, {"f", true}}) == NeedState::whole);
  CHECK(state({{"f___v2", true}}) == NeedState::broken);
  CHECK(state({{"f___v2", true}, {"f", true}}) == NeedState::broken);
  CHECK(state({{"g", false}}) == NeedState::missing);
}

TEST_CASE("LIFE-5: a field is there or missing") {
  FakeTree tree;
  write_fake_btf(tree.root() / "btf", {});
  const auto types = KernelBtf::open(tree.root() / "btf");
  REQUIRE(types);
  CHECK(types->state("outer.in.x") == NeedState::whole);
  CHECK(types->state("outer.other") == NeedState::whole);
  CHECK(types->state("outer.x") == NeedState::missing);
  CHECK(types->state("outer.in.y") == NeedState::missing);
  CHECK(types->state("outer.other.x") == NeedState::missing);
  CHECK(types->state("none.x") == NeedState::missing);
}

TEST_CASE("LIFE-5: what the class calls is what kfuncs.txt lists") {
  const auto needs = spare::needs_of_class();
  REQUIRE(needs);
  std::set<std::string> listed(needs->of_module.begin(), needs->of_module.end());
  CHECK(listed.contains("spare_class_attach"));
  for (const std::string& need : needs->of_kernel) {
    if (need.find('.') == std::string::npos) {
      const auto forms = spare::split(need, "|");
      listed.insert(forms.begin(), forms.end());
    }
  }
  const auto called = spare::kfuncs_of_class();
  REQUIRE(called);
  CHECK(listed == std::set<std::string>(called->begin(), called->end()));
}

TEST_CASE("LIFE-5: a damaged object is an error, at once") {
  // An ELF header and a table of two sections: none, and symbols that are not there.
  struct {
    Elf64_Ehdr header{};
    Elf64_Shdr sections[2]{};
  } object;
  std::memcpy(object.header.e_ident, ELFMAG, SELFMAG);
  object.header.e_ident[EI_CLASS] = ELFCLASS64;
  object.header.e_ident[EI_DATA] = ELFDATA2LSB;
  object.header.e_ident[EI_VERSION] = EV_CURRENT;
  object.header.e_type = ET_REL;
  object.header.e_machine = EM_BPF;
  object.header.e_version = EV_CURRENT;
  object.header.e_ehsize = sizeof(Elf64_Ehdr);
  object.header.e_shentsize = sizeof(Elf64_Shdr);
  object.header.e_shnum = 2;
  object.header.e_shoff = offsetof(decltype(object), sections);
  Elf64_Shdr& symbols = object.sections[1];
  symbols.sh_type = SHT_SYMTAB;
  symbols.sh_offset = 1U << 20;
  symbols.sh_size = 1ULL << 60;
  symbols.sh_entsize = sizeof(Elf64_Sym);
  CHECK_FALSE(spare::kfuncs_of_object(&object, sizeof(object)));
  symbols.sh_entsize = 0;
  CHECK_FALSE(spare::kfuncs_of_object(&object, sizeof(object)));
  CHECK_FALSE(spare::kfuncs_of_object("no object", 9));
}
