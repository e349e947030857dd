// SPDX-License-Identifier: GPL-2.0-only
//
// What is seen of the class around each of its callbacks, and the results.
#include <algorithm>

#include "island.hpp"

namespace spare::sim {

void Use::add(const Use& other) {
  used_ns += other.used_ns;
  boost_ns += other.boost_ns;
  lent_ns += other.lent_ns;
  periods += other.periods;
  use_max_ns = std::max(use_max_ns, other.use_max_ns);
  misses += other.misses;
  overrun_max_ns = std::max(overrun_max_ns, other.overrun_max_ns);
  asked += other.asked;
  granted += other.granted;
  blocked += other.blocked;
  denied += other.denied;
  expired += other.expired;
  hastened += other.hastened;
  held_ns += other.held_ns;
  waited_ns += other.waited_ns;
}

void Totals::add(const Totals& other) {
  for (std::size_t i = 0; i < other.pools.size(); i++) {
    pools[i].add(other.pools[i]);
  }
  for (unsigned i = 0; i < found_kinds; i++) {
    latency[i].add(other.latency[i]);
  }
  events += other.events;
}

void Island::call_begins() {
  const auto cpu = static_cast<unsigned>(here_cpu());
  const class_charge charge = class_charges(here_cpu());
  payer_ = charge.payer == SPARE_NO_SLOT ? nullptr : &books_[cpu][charge.payer];
  if (payer_ == nullptr) {
    return;
  }
  user_ = charge.user == SPARE_NO_SLOT ? payer_ : &books_[cpu][charge.user];
  const model::Role role = here().curr->role;
  thread_ = charge.user == SPARE_NO_SLOT ? -1 : role == model::Role::net ? net_thread : vcpu_thread;
  used_then_ = payer_->s->abi.st.used_ns;
  deadline_then_ = payer_->s->abi.cbs.d_ns;
}

void Island::charged(Book& b, Time delta) {
  if (b.deadline != deadline_then_) {
    b.deadline = deadline_then_;
    b.period_used = 0;
  }
  b.period_used += delta;
  b.use_max = std::max(b.use_max, b.period_used);
  if (observer_ != nullptr) {
    observer_->charged({b.place(), user_->place(), thread_, relative() - delta, relative(), deadline_then_ - begins});
  }
}

void Island::call_ends() {
  if (payer_ != nullptr && payer_->s->abi.st.used_ns != used_then_) {
    charged(*payer_, payer_->s->abi.st.used_ns - used_then_);
  }
  for (model::Server* s : seen) {
    s->seen = false;
    look(book(*s));
  }
  seen.clear();
}

void Island::give_back(Book& b) {
  for (Book* one : {b.partner, &b}) {
    one->held += now() - b.held_since;
    one->partner = nullptr;
  }
}

// It is being lent one. Asked at once, or has it waited?
void Island::granted(model::Server& s, model::Server& provider) {
  Book& b = book(s);
  if (!b.waits && s.abi.st.blocked == b.blocked) {
    b.asked++;
  }
  Book& v = book(provider);
  for (Book* one : {&b, &v}) {
    if (one->partner != nullptr) {
      give_back(*one);
    }
  }
  b.partner = &v;
  v.partner = &b;
  b.held_since = v.held_since = now();
}

void Island::look(Book& b) {
  const spare_stats& st = b.s->abi.st;
  if (b.partner != nullptr && b.s->abi.lender != b.partner->s->slot && b.s->abi.borrower != b.partner->s->slot) {
    give_back(b);
  }
  if (st.blocked != b.blocked && !b.provider) {
    b.asked += st.blocked - b.blocked;
    if (observer_ != nullptr) {
      observer_->blocked(b.place(), relative());
    }
  }
  b.blocked = st.blocked;
  if (const bool waits = class_waits(static_cast<int>(b.s->cpu), b.s->slot); waits != b.waits) {
    b.waited += waits ? 0 : now() - b.waits_since;
    b.waits = waits;
    b.waits_since = now();
  }
  if (observer_ == nullptr) {
    return;
  }
  for (; b.denied != st.denied; b.denied++) {
    observer_->denied(b.place(), relative());
  }
  if (b.misses != st.misses) {
    const auto here = [&](const Thread& p) { return p.thread_info.cpu == b.s->cpu; };
    const bool all_asleep = b.guest == nullptr || ((!here(*b.guest->net) || asleep(*b.guest->net)) &&
                                                   std::all_of(b.guest->vcpus.begin(), b.guest->vcpus.end(), [&](const auto& p) { return !here(*p) || asleep(*p); }));
    observer_->missed(b.place(), all_asleep, relative());
  }
  b.misses = st.misses;
}

// ---- results

void Island::reset_counts() {
  for (auto& books : books_) {
    for (Book& b : books) {
      b.s->abi.st = {};
      b.asked = b.blocked = b.denied = b.misses = 0;
      b.use_max = b.held = b.waited = b.period_used = 0;
    }
  }
  for (const auto& guest : guests_) {
    guest->result = VmResult();
  }
  for (Histogram& histogram : latency_) {
    histogram = Histogram();
  }
}

void Island::run(std::vector<VmResult>& vms, Totals& totals) {
  if (system_.warmup_ns != 0) {
    run_until(begins + system_.warmup_ns);
    reset_counts();
  }
  run_until(begins + system_.warmup_ns + system_.length_ns);
  collect(vms, totals);
}

void Island::collect(std::vector<VmResult>& vms, Totals& totals) {
  totals.events += events();
  for (auto& books : books_) {
    for (Book& b : books) {
      const spare_stats& st = b.s->abi.st;
      const Use use{st.used_ns, st.boost_ns, st.lent_ns, st.periods, b.use_max, st.misses, st.overrun_max_ns, b.asked,
                    st.granted, st.blocked, st.denied, st.expired, st.hastened, b.held, b.waited};
      if (b.provider) {
        totals.pools[b.owner].add(use);
      } else {
        b.guest->result.use.add(use);
      }
    }
  }
  for (const auto& guest : guests_) {
    vms[guest->index] = std::move(guest->result);
  }
  for (unsigned i = 0; i < found_kinds; i++) {
    totals.latency[i].add(latency_[i]);
  }
}

}  // namespace spare::sim
