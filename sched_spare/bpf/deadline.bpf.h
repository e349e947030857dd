/* SPDX-License-Identifier: GPL-2.0 */
/* deadline.bpf.h - what SCHED_DEADLINE threads hold of a CPU: they go before every reservation, so admission must know (CBS-6). */
#ifndef SPARE_DEADLINE_BPF_H
#define SPARE_DEADLINE_BPF_H

#include "spare.bpf.h"
#include <sched_spare/abi.h>
#include "kfuncs.bpf.h"
#include "compat.bpf.h"
#include "cpu.bpf.h"

#define DL_BW_SHIFT 20	/* kernel/sched/sched.h, BW_SHIFT: a whole CPU */

/* The kernel's own deadline servers for lower classes count in total_bw, too, while attached; they only run when those starve. */
static __always_inline u64 dl_server_bw(const struct sched_dl_entity *dl)
{
	return dl && dl_bw_attached(dl) ? dl->dl_bw : 0;
}

/*
 * SCHED_DEADLINE threads go from CPU to CPU of their root domain at each of their periods (what they hold of the one, this_bw, is
 * another at each look): a CPU is counted an even part of what they hold together, which is what the kernel admits them by.
 */
static __noinline u32 deadline_part_ppm(struct cpu_ctx *c, const struct rq *own)
{
	const struct rq *rq;
	int i;

	/* The sums are kept where the verifier does not follow their values. */
	c->dl_servers_bw = c->dl_cpus = 0;
	bpf_for(i, 0, SPARE_CPUS_MAX) {
		rq = bpf_per_cpu_ptr(&runqueues, i);
		if (!rq)
			break;
		if (rq->rd != own->rd || !rq->online)
			continue;
		c->dl_servers_bw += dl_server_bw(&rq->fair_server) + dl_server_bw(rq_ext_server(rq));
		c->dl_cpus++;
	}
	if (!c->dl_cpus || c->dl_bw <= c->dl_servers_bw)
		return 0;
	return (c->dl_bw - c->dl_servers_bw) / c->dl_cpus * SPARE_PPM >> DL_BW_SHIFT;
}

/* Tell the module when it has changed. Once in a jiffy is enough: this is on the way of each switch to idle. */
static __always_inline void deadline_look(struct cpu_ctx *c, s32 cpu)
{
	u64 jiffy = bpf_jiffies64(), bw;
	const struct rq *rq;

	if (jiffy == c->dl_seen)
		return;
	c->dl_seen = jiffy;
	rq = bpf_per_cpu_ptr(&runqueues, cpu);
	if (!rq)
		return;
	bw = rq->rd->dl_bw.total_bw;
	if (bw == c->dl_bw)
		return;
	c->dl_bw = bw;
	spare_cpu_deadline(cpu, deadline_part_ppm(c, rq));
}

#endif
