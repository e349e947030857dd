/* SPDX-License-Identifier: GPL-2.0 */
/* No kernel is asked: this one has all the fields that not every kernel has (compat.bpf.h), but for core scheduling's and for softirqs in the clock. */
#define bpf_core_field_exists(field) (__builtin_strcmp(#field, "r->core") && __builtin_strcmp(#field, "rq->prev_irq_time"))
#define BPF_CORE_READ_BITFIELD(p, field) ((p)->field)
