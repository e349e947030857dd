// SPDX-License-Identifier: GPL-2.0-only
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "util/links.hpp"

namespace spare_qemu {

// Which taps of the network namespace are the guest's: those that its command line names, and those that its processes have open. Pure: it is
// told what happens to taps and what is open.
class GuestTaps {
 public:
  // named: on the command line, whoever has them open.
  explicit GuestTaps(std::set<std::string> named) : named_(std::move(named)) {}

  // Is it one of which is not known any more whose it is: new, or opened by somebody, who may be the guest?
  bool hear(const spare::Link& link);
  // These are there, and no other. Is one of them such a one?
  bool replace(const std::vector<spare::Link>& links);

  [[nodiscard]] bool unknown() const;
  // What the guest's processes have open, by interface index: a tap of another network namespace may have the same name. What a guest has had once
  // stays its own.
  void opened(const std::set<int>& indexes);
  // Those that are still unknown are others'.
  void give_up();

  // Names of the guest's of which something was heard since they were bound: the kernel may have unbound them.
  [[nodiscard]] std::set<std::string> to_bind() const;
  void bound(const std::set<std::string>& names);

 private:
  enum class Whose { unknown, others, guests };
  struct Tap {
    std::string name;
    bool carrier = false;
    Whose whose = Whose::unknown;
    bool bound = false;
  };

  std::set<std::string> named_;
  std::map<int, Tap> taps_;  // by interface index
};

}  // namespace spare_qemu
