/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Tracepoints, in the system sched_spare. README.md documents them: they may grow fields, and lose none.
 *
 * A server is told by its cgroup's id ("vm", the inode number of the directory) and its CPU. Times are of CLOCK_MONOTONIC.
 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM sched_spare

#if !defined(KMOD_TRACE_H) || defined(TRACE_HEADER_MULTI_READ)
#define KMOD_TRACE_H

#include <linux/timekeeping.h>
#include <linux/tracepoint.h>
#include "server.h"
#include "vm.h"

DECLARE_EVENT_CLASS(spare_budget,
	TP_PROTO(const struct spare_server_kern *srv),
	TP_ARGS(srv),
	TP_STRUCT__entry(
		__field(u64, vm)
		__field(u32, cpu)
		__field(s64, budget_ns)
		__field(u64, deadline_ns)
	),
	TP_fast_assign(
		__entry->vm = srv->vm->abi.id;
		__entry->cpu = srv->cpu;
		__entry->budget_ns = srv->abi.cbs.q_ns;
		__entry->deadline_ns = srv->abi.cbs.d_ns;
	),
	TP_printk("vm=%llu cpu=%u budget_ns=%lld deadline_ns=%llu",
		  __entry->vm, __entry->cpu, __entry->budget_ns, __entry->deadline_ns)
);

/* The budget is used up; the server waits for its deadline. */
DEFINE_EVENT(spare_budget, spare_throttle, TP_PROTO(const struct spare_server_kern *srv), TP_ARGS(srv));

/* A period begins: a throttled server's deadline has come, or one wakes after its own. Less than 0: it still pays. */
DEFINE_EVENT(spare_budget, spare_replenish, TP_PROTO(const struct spare_server_kern *srv), TP_ARGS(srv));

/* A packet finds a server throttled that may borrow: its CPU is told to look. */
TRACE_EVENT(spare_mark,
	TP_PROTO(const struct spare_server_kern *srv),
	TP_ARGS(srv),
	TP_STRUCT__entry(
		__field(u64, vm)
		__field(u32, cpu)
		__field(u64, packets)
	),
	TP_fast_assign(
		__entry->vm = srv->vm->abi.id;
		__entry->cpu = srv->cpu;
		__entry->packets = READ_ONCE(srv->vm->abi.rx_seq);
	),
	TP_printk("vm=%llu cpu=%u packets=%llu", __entry->vm, __entry->cpu, __entry->packets)
);

DECLARE_EVENT_CLASS(spare_answer,
	TP_PROTO(const struct spare_server_kern *srv, const struct spare_server_kern *provider),
	TP_ARGS(srv, provider),
	TP_STRUCT__entry(
		__field(u64, vm)
		__field(u64, provider)
		__field(u64, waited_ns)
		__field(u32, cpu)
	),
	TP_fast_assign(
		__entry->vm = srv->vm->abi.id;
		__entry->provider = provider ? provider->vm->abi.id : 0;
		__entry->waited_ns = ktime_get_mono_fast_ns() - srv->abi.mark.since_ns;
		__entry->cpu = srv->cpu;
	),
	TP_printk("vm=%llu cpu=%u provider=%llu waited_ns=%llu",
		  __entry->vm, __entry->cpu, __entry->provider, __entry->waited_ns)
);

/* The packet has got this provider, so long after it was noticed. */
DEFINE_EVENT(spare_answer, spare_grant,
	TP_PROTO(const struct spare_server_kern *srv, const struct spare_server_kern *provider), TP_ARGS(srv, provider));

/* It has got none, and waits for the VM's own budget; or one whose grant ended before the vCPU had run. */
DEFINE_EVENT(spare_answer, spare_deny,
	TP_PROTO(const struct spare_server_kern *srv, const struct spare_server_kern *provider), TP_ARGS(srv, provider));

#endif /* KMOD_TRACE_H */

#undef TRACE_INCLUDE_PATH
#define TRACE_INCLUDE_PATH .
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE trace
#include <trace/define_trace.h>
