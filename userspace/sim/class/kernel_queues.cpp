// SPDX-License-Identifier: GPL-2.0-only
//
// The kernel's dispatch queues: who puts a task into one, and takes it.
#include "kernel.hpp"

#include <algorithm>
#include <bit>

namespace spare::model {

namespace {

void unlink(Node& n) {
  n.prev->next = n.next;
  n.next->prev = n.prev;
  n.prev = n.next = nullptr;
}

void link_before(Node& n, Node& at) {
  n.prev = at.prev;
  n.next = &at;
  at.prev->next = &n;
  at.prev = &n;
}

}  // namespace

std::unique_ptr<dsq>* Kernel::place(std::uint64_t id) {
  const auto kind = static_cast<unsigned>(std::countr_zero(id >> 40));
  const std::uint64_t n = id & ((1ULL << 40) - 1);
  return id >> 45 || !(id >> 40) || n >= queues_[kind].size() ? nullptr : &queues_[kind][n];
}

dsq* Kernel::find(std::uint64_t id, Cpu& c) {
  if (id == SCX_DSQ_LOCAL) return c.local.get();
  if ((id & SCX_DSQ_LOCAL_ON) == SCX_DSQ_LOCAL_ON) return cpu(static_cast<int>(id & 0xffffffff)).local.get();
  const auto* q = place(id);
  return q ? q->get() : nullptr;
}

void Kernel::create(std::uint64_t id) {
  auto& kind = queues_[std::countr_zero(id >> 40) & 7];
  const std::uint64_t n = id & ((1ULL << 40) - 1);
  if (n >= kind.size()) kind.resize(n + 1);
  if (kind[n]) fail("queue %llx is made twice", static_cast<unsigned long long>(id));
  kind[n] = std::make_unique<dsq>(id);
}

void Kernel::dispatch_dequeue(Task& p) {
  if (!p.in) return;
  unlink(p.node);
  p.in->n--;
  p.in = nullptr;
}

// dispatch_enqueue()
void Kernel::dispatch_enqueue(dsq& q, Cpu& c, Task& p, std::uint64_t flags, bool by_vtime) {
  if (p.in) fail("%s/%d is put into a queue and is in one", p.comm, p.pid);
  Node* before = &q.head;
  if (by_vtime) {
    for (Node* n = q.head.next; n != &q.head; n = n->next)
      if (n->task && static_cast<std::int64_t>(p.scx.dsq_vtime - n->task->scx.dsq_vtime) < 0) {
        before = n;
        break;
      }
  } else if (flags & (SCX_ENQ_PREEMPT | 1ULL << 4)) {
    before = q.head.next;
  }
  p.node.task = &p;
  link_before(p.node, *before);
  p.in = &q;
  p.queued_as = ++q.seq;
  p.queued_at = now_;
  q.n++;
  p.queueing = false;
  if (q.id != SCX_DSQ_LOCAL || c.in_balance) return;
  // local_dsq_post_enq()
  bool preempt = c.curr->policy == Policy::idle;
  if (flags & SCX_ENQ_PREEMPT && &p != c.curr && c.curr->policy == Policy::ext) {
    c.curr->scx.slice = 0;
    preempt = true;
  }
  if (preempt) resched(c);
}

// scx_bpf_dsq_insert*(), from ops.enqueue or ops.select_cpu
void Kernel::insert(Task& p, std::uint64_t id, std::uint64_t slice, std::uint64_t flags, const std::uint64_t* vtime) {
  if (p.direct) fail("%s/%d is inserted twice", p.comm, p.pid);
  p.direct = id;
  p.direct_flags = flags;
  p.direct_by_vtime = vtime != nullptr;
  p.scx.slice = slice ? slice : std::max<std::uint64_t>(p.scx.slice, 1);
  if (vtime) p.scx.dsq_vtime = *vtime;
}

// A run-queue lock is let go of: others may take it.
void Kernel::let_go(Cpu& c, Task& wanted) {
  if (!chance(4)) return;
  const int before = here_;
  const int depth = depth_;
  elsewhere(c, wanted);
  here_ = before;
  depth_ = depth;
}

// consume_dispatch_q()
bool Kernel::move_to_local(std::uint64_t id) {
  Cpu& c = here();
  dsq* q = find(id, c);
  if (!q) fail("there is no queue %llx", static_cast<unsigned long long>(id));
  for (int tries = 0; tries < 32; tries++) {
    bool again = false;
    for (Node* n = q->head.next; n != &q->head; n = n->next) {
      Task* p = n->task;
      if (!p) continue;
      Cpu& from = cpu_of(*p);
      if (&from == &c) {
        dispatch_dequeue(*p);
        dispatch_enqueue(*c.local, c, *p, 0, false);
        c.skip_clock = c.curr == &c.idle;  // wakeup_preempt() in local_dsq_post_enq()
        trace("taken", p, id);
        return true;
      }
      // task_can_run_on_remote_rq()
      if (p->migration_disabled || !allowed(*p, c.id) || !c.online) {
        trace("may not be taken", p, id, p->migration_disabled);
        continue;
      }
      // consume_remote_task()
      const std::uint64_t as = p->queued_as;
      let_go(c, *p);
      if (p->in != q || p->queued_as != as || &cpu_of(*p) != &from) {
        again = true;
        break;
      }
      dequeue(from, *p, false);
      p->thread_info.cpu = static_cast<unsigned>(c.id);
      p->moving = true;
      let_go(c, *p);
      p->moving = false;
      p->on_rq = true;
      p->scx.flags |= SCX_TASK_QUEUED;
      c.queued++;
      dispatch_enqueue(*c.local, c, *p, 0, false);
      c.skip_clock = c.curr == &c.idle;
      trace("taken from elsewhere", p, id);
      return true;
    }
    if (!again) return false;
  }
  return false;
}

// scx_dsq_move()
bool Kernel::move(bpf_iter_scx_dsq& it, Task& p, std::uint64_t id, std::uint64_t flags, bool by_vtime) {
  Cpu& from = cpu_of(p);
  const std::uint64_t as = p.queued_as;
  bool moved = false;
  if (&from != &here()) let_go(here(), p);
  if (p.in == it.dsq && p.queued_as == as) {
    dsq* to = find(id, here());
    if (!to || (to->id == SCX_DSQ_LOCAL && to != from.local.get())) fail("a move to queue %llx", static_cast<unsigned long long>(id));
    if (it.has_vtime) p.scx.dsq_vtime = it.vtime;
    if (it.has_slice) p.scx.slice = it.slice;
    dispatch_dequeue(p);
    dispatch_enqueue(*to, from, p, flags, by_vtime);
    trace("moved", &p, id, p.scx.dsq_vtime);
    moved = true;
  }
  it.has_vtime = it.has_slice = false;
  return moved;
}

}  // namespace spare::model

spare::model::Task* dsq::first() const {
  for (const spare::model::Node* at = head.next; at != &head; at = at->next)
    if (at->task) return at->task;
  return nullptr;
}
