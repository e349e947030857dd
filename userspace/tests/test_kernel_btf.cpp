// SPDX-License-Identifier: GPL-2.0-only
#include <catch2/catch_test_macros.hpp>

#include <algorithm>
#include <fstream>

#include "class_loader.hpp"
#include "fake_btf.hpp"
#include "fake_tree.hpp"
#include "util/files.hpp"

using spare::KernelBtf;
using spare::KfuncState;

TEST_CASE("LIFE-5: a kfunc is whole, missing, or lacks its twin") {
  FakeTree tree;
  write_fake_btf(tree.root() / "btf", {{"plain", false}, {"whole", false}, {"whole_impl", true}, {"broken", true}});
  const auto types = KernelBtf::open(tree.root() / "btf");
  REQUIRE(types);
  CHECK(types->state("plain") == KfuncState::whole);
  CHECK(types->state("whole") == KfuncState::whole);
  CHECK(types->state("broken") == KfuncState::broken);
  CHECK(types->state("absent") == KfuncState::missing);
  CHECK_FALSE(KernelBtf::open(tree.root() / "none"));
}

TEST_CASE("LIFE-5: the kfuncs of the class are known, and are those that kfuncs.txt lists") {
  const auto kfuncs = spare::kfuncs_of_class();
  REQUIRE(kfuncs);
  const auto called = [&](const std::string& name) {
    return std::any_of(kfuncs->begin(), kfuncs->end(), [&](const spare::Kfunc& kfunc) { return kfunc.name == name; });
  };
  CHECK(called("scx_bpf_dsq_insert"));
  CHECK(called("spare_class_attach"));
  const auto text = spare::read_file(KFUNCS_TXT);
  REQUIRE(text);
  std::vector<std::string> listed;
  for (const std::string& line : spare::split(*text, "\n")) {
    if (!line.starts_with("#")) {
      listed.push_back(line);
    }
  }
  for (const spare::Kfunc& kfunc : *kfuncs) {
    INFO(kfunc.name);
    const bool of_sched_ext = kfunc.name.find("scx_") != std::string::npos;
    CHECK((!of_sched_ext || kfunc.optional || std::find(listed.begin(), listed.end(), kfunc.name) != listed.end()));
  }
}
