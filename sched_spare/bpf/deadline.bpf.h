/* SPDX-License-Identifier: GPL-2.0 */
/* deadline.bpf.h - what SCHED_DEADLINE threads hold of a CPU: they go before every reservation, so admission must know (CBS-6). */
#ifndef SPARE_DEADLINE_BPF_H
#define SPARE_DEADLINE_BPF_H

extern const struct rq runqueues __ksym;

#define DL_BW_SHIFT 20	/* kernel/sched/sched.h, BW_SHIFT: a whole CPU */

/* The kernel's own deadline servers for lower classes are in this_bw, too, while attached; they only run when those starve. */
static __always_inline u64 dl_server_bw(const struct sched_dl_entity *dl)
{
	if (bpf_core_field_exists(dl->dl_bw_attached) && !dl->dl_bw_attached)
		return 0;
	return dl->dl_bw;
}

/* Tell the module when it has changed. Under the CPU's run-queue lock, which this_bw is written under. */
static __always_inline void deadline_look(struct cpu_ctx *c, s32 cpu)
{
	const struct rq *rq = bpf_per_cpu_ptr(&runqueues, cpu);
	u64 bw, servers;

	if (!rq)
		return;
	bw = rq->dl.this_bw;
	if (bw == c->dl_bw)
		return;
	c->dl_bw = bw;
	servers = dl_server_bw(&rq->fair_server) + dl_server_bw(&rq->ext_server);
	bw = bw > servers ? bw - servers : 0;
	spare_cpu_deadline(cpu, (u32)(bw * SPARE_PPM >> DL_BW_SHIFT));
}

#endif
