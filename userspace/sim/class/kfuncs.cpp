// SPDX-License-Identifier: GPL-2.0-only
//
// What the class calls of the kernel: kernel/sched/ext, kernel/bpf. Of what comes in two forms the newest is here (compat.bpf.h).
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include "kernel.hpp"

using spare::model::cpus_max;
using spare::model::jiffy;
using spare::model::kernel;
using spare::model::Node;
using spare::model::Task;

namespace {

Task& task(const task_struct* p) { return *static_cast<Task*>(const_cast<task_struct*>(p)); }

// The class gives each argument as 64 bits; what the format says of their width and sign holds.
std::string formatted(const char* format, const unsigned long long* data, u32 size) {
  std::string out;
  char word[32];
  u32 used = 0;
  for (const char* f = format; *f; f++) {
    if (*f != '%' || used * 8 >= size) {
      out += *f;
      continue;
    }
    bool wide = false;
    while (f[1] == 'l') wide = true, f++;
    f++;
    const unsigned long long v = data[used++];
    if (*f == 'd') std::snprintf(word, sizeof(word), "%lld", wide ? static_cast<long long>(v) : static_cast<int>(v));
    else std::snprintf(word, sizeof(word), "%llu", wide ? v : static_cast<unsigned>(v));
    out += word;
  }
  return out;
}

struct dsq_insert_vtime_args {
  u64 dsq_id, slice, vtime, enq_flags;
};

}  // namespace

extern "C" {

u64 bpf_ktime_get_ns(void) {
  kernel->advance(10, 40);
  return kernel->now();
}

u64 bpf_jiffies64(void) { return kernel->now() / jiffy; }
u32 bpf_get_smp_processor_id(void) { return static_cast<u32>(kernel->here_cpu()); }
task_struct* bpf_get_current_task_btf(void) { return &kernel->current(); }

const rq* shim_rq(s32 cpu) { return cpu >= 0 && static_cast<unsigned>(cpu) < kernel->cpus() ? &kernel->cpu(cpu) : nullptr; }

void* shim_task_storage(task_struct* p, u32 size, u64 flags) {
  if (!p->storage && flags & BPF_LOCAL_STORAGE_GET_F_CREATE) p->storage = std::calloc(1, size);
  return p->storage;
}

// A lock is taken, or there is no memory just now.
bool shim_fails(void) { return kernel->noise(1, 16) == 1; }
void shim_copy_string(char* to, u32 size, const char* from) { std::snprintf(to, size, "%s", from ? from : ""); }

s32 scx_bpf_create_dsq(u64 id, s32) {
  kernel->create(id);
  return 0;
}

bool scx_bpf_dsq_insert___v2___spare(task_struct* p, u64 id, u64 slice, u64 flags) {
  kernel->insert(task(p), id, slice, flags, nullptr);
  return true;
}

bool __scx_bpf_dsq_insert_vtime___args(task_struct* p, dsq_insert_vtime_args* a) {
  const std::uint64_t vtime = a->vtime;
  kernel->insert(task(p), a->dsq_id, a->slice, a->enq_flags, &vtime);
  return true;
}

bool scx_bpf_dsq_move_to_local___v2___spare(u64 id, u64) { return kernel->move_to_local(id); }
bool scx_bpf_dsq_move_vtime(bpf_iter_scx_dsq* it, task_struct* p, u64 id, u64 flags) { return kernel->move(*it, task(p), id, flags, true); }
bool scx_bpf_dsq_move(bpf_iter_scx_dsq* it, task_struct* p, u64 id, u64 flags) { return kernel->move(*it, task(p), id, flags, false); }

void scx_bpf_dsq_move_set_slice(bpf_iter_scx_dsq* it, u64 slice) {
  it->slice = slice;
  it->has_slice = true;
}

void scx_bpf_dsq_move_set_vtime(bpf_iter_scx_dsq* it, u64 vtime) {
  it->vtime = vtime;
  it->has_vtime = true;
}

s32 scx_bpf_dsq_nr_queued(u64 id) {
  const dsq* q = kernel->find(id, kernel->here());
  return q ? static_cast<s32>(q->n) : -2;
}

task_struct* scx_bpf_dsq_peek(u64 id) {
  const dsq* q = kernel->find(id, kernel->here());
  return q ? q->first() : nullptr;
}

bool scx_bpf_task_set_slice(task_struct* p, u64 slice) {
  p->scx.slice = slice;
  return true;
}

bool scx_bpf_task_set_dsq_vtime(task_struct* p, u64 vtime) {
  p->scx.dsq_vtime = vtime;
  return true;
}

s32 scx_bpf_task_cpu(const task_struct* p) { return static_cast<s32>(p->thread_info.cpu); }

s32 scx_bpf_select_cpu_dfl(task_struct* p, s32 prev, u64, bool* is_idle) {
  *is_idle = false;
  if (p->cpus_ptr->bits >> prev & 1 && kernel->cpu(prev).idle_bit) {
    kernel->cpu(prev).idle_bit = false;
    *is_idle = true;
    return prev;
  }
  const int cpu = kernel->pick_idle(*p->cpus_ptr);
  *is_idle = cpu >= 0;
  return cpu >= 0 ? cpu : prev;
}

bool scx_bpf_test_and_clear_cpu_idle(s32 cpu) {
  const bool idle = kernel->cpu(cpu).idle_bit;
  kernel->cpu(cpu).idle_bit = false;
  return idle;
}

s32 scx_bpf_pick_idle_cpu(const cpumask* allowed, u64) {
  const int cpu = kernel->pick_idle(*allowed);
  return cpu >= 0 ? cpu : -16;
}

u32 scx_bpf_nr_cpu_ids(void) { return kernel->cpus(); }
u64 scx_bpf_now(void) { return kernel->here().clock; }

void scx_bpf_error_bstr(char* format, unsigned long long* data, u32 size) { kernel->fail("class_error: %s", formatted(format, data, size).c_str()); }
void scx_bpf_dump_bstr(char* format, unsigned long long* data, u32 size) {
  const std::string line = formatted(format, data, size);
  if (kernel->dumps) std::printf("  %s\n", line.c_str());
}

const cpumask* scx_bpf_get_online_cpumask(void) {
  static thread_local cpumask online;
  online.bits = 0;
  for (unsigned i = 0; i < kernel->cpus(); i++)
    if (kernel->cpu(static_cast<int>(i)).online) online.bits |= 1ULL << i;
  return &online;
}

void scx_bpf_put_cpumask(const cpumask*) {}
bool bpf_cpumask_test_cpu(u32 cpu, const cpumask* mask) { return cpu < 64 && mask->bits >> cpu & 1; }

int bpf_iter_scx_dsq_new(bpf_iter_scx_dsq* it, u64 id, u64) {
  *it = {};
  it->dsq = kernel->find(id, kernel->here());
  if (!it->dsq) return -2;
  auto* cursor = new Node;
  it->cursor = cursor;
  it->seq = it->dsq->seq;
  cursor->prev = &it->dsq->head;
  cursor->next = it->dsq->head.next;
  cursor->next->prev = cursor;
  it->dsq->head.next = cursor;
  return 0;
}

// Who was queued after the walk began is not met (nldsq_cursor_next_task()).
task_struct* bpf_iter_scx_dsq_next(bpf_iter_scx_dsq* it) {
  auto* cursor = static_cast<Node*>(it->cursor);
  if (!cursor) return nullptr;
  for (Node* n = cursor->next; n != &it->dsq->head; n = n->next) {
    if (!n->task || n->task->queued_as > it->seq) continue;
    cursor->prev->next = cursor->next;
    cursor->next->prev = cursor->prev;
    cursor->prev = n;
    cursor->next = n->next;
    n->next->prev = cursor;
    n->next = cursor;
    return n->task;
  }
  return nullptr;
}

void bpf_iter_scx_dsq_destroy(bpf_iter_scx_dsq* it) {
  auto* cursor = static_cast<Node*>(it->cursor);
  if (!cursor) return;
  cursor->prev->next = cursor->next;
  cursor->next->prev = cursor->prev;
  delete cursor;
  it->cursor = nullptr;
}

}  // extern "C"
