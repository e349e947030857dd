/* SPDX-License-Identifier: GPL-2.0 */
/*
 * bpf_helpers.h - libbpf's words for a program in user space. The memory of the class's arrays is told by the type of their values, each thread's
 * its own (class.c: class_begin).
 */
#ifndef SPARE_SHIM_BPF_HELPERS_H
#define SPARE_SHIM_BPF_HELPERS_H

#define CLASS_VAR _Thread_local
#define SEC(name)
#define __ksym
#define __weak __attribute__((weak))
#define __always_inline inline __attribute__((always_inline))
#define __noinline __attribute__((noinline))
#define __arg_nonnull
#define __arg_nullable
#define __arg_trusted

#define __uint(name, val) int (*name)[val]
#define __type(name, val) val *name

#define bpf_for(i, start, end) for ((i) = (start); (i) < (end); (i)++)
#define bpf_for_each(type, cur, args...)								\
	for (struct bpf_iter_##type ___it __attribute__((cleanup(bpf_iter_##type##_destroy))),		\
	     *___p __attribute__((unused)) = (bpf_iter_##type##_new(&___it, ##args), (void *)0);	\
	     ((cur) = bpf_iter_##type##_next(&___it));)

#define bpf_ksym_exists(sym) (!!(sym))

extern u64 bpf_ktime_get_ns(void);
extern u64 bpf_jiffies64(void);
extern u32 bpf_get_smp_processor_id(void);
extern struct task_struct *bpf_get_current_task_btf(void);
struct cpu_ctx;
struct host_group;
extern _Thread_local struct cpu_ctx *shim_cpus;
extern _Thread_local struct host_group *shim_groups;
extern _Thread_local u32 shim_nr_cpus, shim_nr_groups;
extern const struct rq *shim_rq(s32 cpu);
extern void *shim_task_storage(struct task_struct *p, u32 size, u64 flags);
extern void *shim_hash(u32 key, bool create);
extern bool shim_fails(void);
extern long shim_stack_pop(u64 *id);
extern long shim_stack_push(const u64 *id);
extern u64 *shim_cost(u64 id);
extern void shim_copy_string(char *to, u32 size, const char *from);

#define bpf_per_cpu_ptr(rqs, cpu) shim_rq(cpu)
#define shim_array(map, cpus, groups) _Generic((map)->value, struct cpu_ctx *: shim_##cpus, struct host_group *: shim_##groups, default: shim_##cpus)
/* The one hash has entries for its keys alone, and may have no memory for another one just now. */
#define shim_is_hash(map) (sizeof(*(map)->type) == sizeof(int) * BPF_MAP_TYPE_HASH)
/* (Of numbers of 64 bits there is one.) */
#define bpf_map_lookup_elem(map, k)									\
	_Generic((map)->value, u64 *: (void *)shim_cost(*(k)), default: (void *)shim_lookup_elem(map, k))
#define shim_lookup_elem(map, k)									\
	(shim_is_hash(map) ? shim_hash(*(k), false) : *(k) < shim_array(map, nr_cpus, nr_groups) ? &shim_array(map, cpus, groups)[*(k)] : NULL)
#define bpf_map_update_elem(map, k, v, flags) ((void)(v), shim_hash(*(k), true) ? 0 : -E2BIG)
#define bpf_map_pop_elem(map, v) shim_stack_pop(v)
#define bpf_map_push_elem(map, v, flags) shim_stack_push(v)
#define bpf_task_storage_get(map, p, init, flags) shim_task_storage(p, sizeof(*(map)->value), flags)
#define bpf_probe_read_kernel_str(to, size, from) shim_copy_string(to, size, from)

#endif
