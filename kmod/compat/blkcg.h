/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The block cgroup's policy interface. blkcg_policy_register() is exported, the layouts are not
 * (block/blk-cgroup.h is private), so they are declared here and compared with the running kernel's BTF before
 * use: spare_blkcg_verify().
 */
#ifndef KMOD_COMPAT_BLKCG_H
#define KMOD_COMPAT_BLKCG_H

#include <linux/blkdev.h>
#include <linux/cgroup.h>

struct blkcg;

struct blkcg_policy_data {
	struct blkcg	*blkcg;
	int		plid;
};

struct blkcg_policy {
	int		plid;
	struct cftype	*dfl_cftypes;
	struct cftype	*legacy_cftypes;
	struct blkcg_policy_data *(*cpd_alloc_fn)(gfp_t gfp);
	void		(*cpd_free_fn)(struct blkcg_policy_data *cpd);
	void		*pd_fns[7];	/* per-disk operations: we have none */
};

int blkcg_policy_register(struct blkcg_policy *pol);
void blkcg_policy_unregister(struct blkcg_policy *pol);

/* Offset of blkcg.cpd[], from BTF. */
extern unsigned int spare_blkcg_cpd_offset __read_mostly;

/**
 * spare_css_to_cpd - our policy's data of an io css
 * @css: of the io controller
 * @plid: of our policy
 *
 * The css is the first member of struct blkcg; both directions are verified.
 *
 * Context: any; @css is held.
 * Return: the data; NULL: none any more.
 */
static inline struct blkcg_policy_data *spare_css_to_cpd(struct cgroup_subsys_state *css, int plid)
{
	struct blkcg_policy_data **cpd = (void *)css + spare_blkcg_cpd_offset;

	return READ_ONCE(cpd[plid]);
}

/**
 * spare_cpd_to_css - the io css of data of our policy
 * @cpd: the data
 *
 * Context: any.
 * Return: the css, which lives at least as long.
 */
static inline struct cgroup_subsys_state *spare_cpd_to_css(struct blkcg_policy_data *cpd)
{
	return (struct cgroup_subsys_state *)cpd->blkcg;
}

int __must_check spare_blkcg_verify(void);

#endif /* KMOD_COMPAT_BLKCG_H */
