// SPDX-License-Identifier: GPL-2.0
/*
 * Compare compat/blkcg.h with the running kernel's own BTF, at every insmod, with the two exported functions
 * bpf_find_btf_id() and btf_type_by_id(). Names of members are out of reach of a module, so members are
 * recognized by their types, which are unique enough: a typedef per callback.
 *
 * bpf_find_btf_id() returns a reference on the kernel's BTF and btf_put() is not exported; that object is
 * never freed.
 */
#include <linux/bpf.h>
#include <linux/btf.h>
#include "blkcg.h"

unsigned int spare_blkcg_cpd_offset __read_mostly;

static struct btf *vmlinux_btf;

/* Id of a type of the kernel image; 0 if it has none (a module's type does not count). */
static u32 find(const char *name, u32 kind)
{
	struct btf *btf = NULL;
	s32 id = bpf_find_btf_id(name, kind, &btf);

	if (id <= 0)
		return 0;
	if (!vmlinux_btf)
		vmlinux_btf = btf;
	return btf == vmlinux_btf ? id : 0;
}

static const struct btf_type *type(u32 id)
{
	return id ? btf_type_by_id(vmlinux_btf, id) : NULL;
}

static bool is_kind(const struct btf_type *t, u32 kind)
{
	return t && BTF_INFO_KIND(t->info) == kind;
}

static bool is_ptr_to(u32 id, u32 target)
{
	const struct btf_type *t = type(id);

	return target && is_kind(t, BTF_KIND_PTR) && t->type == target;
}

static bool member_at(const struct btf_type *s, unsigned int i, size_t offset)
{
	return __btf_member_bit_offset(s, btf_type_member(s) + i) == offset * BITS_PER_BYTE;
}

/* Member i is a pointer to the callback type @name, which takes one parameter and returns pointer @ret (0: nothing). */
static bool is_callback(const struct btf_type *s, unsigned int i, size_t offset, const char *name, u32 ret)
{
	u32 id = find(name, BTF_KIND_TYPEDEF);
	const struct btf_type *proto;

	if (!member_at(s, i, offset) || !is_ptr_to(btf_type_member(s)[i].type, id))
		return false;
	proto = type(type(id)->type);
	if (!is_kind(proto, BTF_KIND_FUNC_PROTO) || BTF_INFO_VLEN(proto->info) != 1)
		return false;
	return ret ? is_ptr_to(proto->type, ret) : !proto->type;
}

static bool policy_data_matches(u32 data_id)
{
	const struct btf_type *s = type(data_id);

	return s && s->size == sizeof(struct blkcg_policy_data) && BTF_INFO_VLEN(s->info) == 2 &&
	       member_at(s, 0, offsetof(struct blkcg_policy_data, blkcg)) &&
	       is_ptr_to(btf_type_member(s)[0].type, find("blkcg", BTF_KIND_STRUCT)) &&
	       member_at(s, 1, offsetof(struct blkcg_policy_data, plid));
}

static bool policy_matches(u32 data_id)
{
	const struct btf_type *s = type(find("blkcg_policy", BTF_KIND_STRUCT));
	u32 cftype = find("cftype", BTF_KIND_STRUCT);

	if (!s || s->size != sizeof(struct blkcg_policy) || BTF_INFO_VLEN(s->info) != 12)
		return false;
	return member_at(s, 0, offsetof(struct blkcg_policy, plid)) &&
	       is_kind(type(btf_type_member(s)[0].type), BTF_KIND_INT) &&
	       member_at(s, 1, offsetof(struct blkcg_policy, dfl_cftypes)) &&
	       is_ptr_to(btf_type_member(s)[1].type, cftype) &&
	       is_ptr_to(btf_type_member(s)[2].type, cftype) &&
	       is_callback(s, 3, offsetof(struct blkcg_policy, cpd_alloc_fn), "blkcg_pol_alloc_cpd_fn", data_id) &&
	       is_callback(s, 4, offsetof(struct blkcg_policy, cpd_free_fn), "blkcg_pol_free_cpd_fn", 0);
}

/* struct blkcg begins with its css; cpd[] is its only array of pointers to policy data. */
static bool find_cpd(u32 data_id)
{
	const struct btf_type *s = type(find("blkcg", BTF_KIND_STRUCT));
	unsigned int i;

	if (!s || !BTF_INFO_VLEN(s->info) || !member_at(s, 0, 0) ||
	    btf_type_member(s)[0].type != find("cgroup_subsys_state", BTF_KIND_STRUCT))
		return false;
	for (i = 1; i < BTF_INFO_VLEN(s->info); i++) {
		const struct btf_member *m = btf_type_member(s) + i;
		const struct btf_type *t = type(m->type);

		if (!is_kind(t, BTF_KIND_ARRAY) || !is_ptr_to(btf_array(t)->type, data_id))
			continue;
		spare_blkcg_cpd_offset = __btf_member_bit_offset(s, m) / BITS_PER_BYTE;
		return btf_array(t)->nelems == BLKCG_MAX_POLS;
	}
	return false;
}

/**
 * spare_blkcg_verify - compare these layouts with those of the running kernel
 *
 * Context: process, at load.
 * Return: 0; -EOPNOTSUPP: they differ, or cannot be known; a line in the log says which.
 */
int spare_blkcg_verify(void)
{
	u32 data_id;

	if (!find("task_struct", BTF_KIND_STRUCT)) {
		pr_err("this kernel has no BTF (CONFIG_DEBUG_INFO_BTF): cannot check its layouts, nor run the class\n");
		return -EOPNOTSUPP;
	}
	data_id = find("blkcg_policy_data", BTF_KIND_STRUCT);
	if (!data_id || !policy_data_matches(data_id)) {
		pr_err("struct blkcg_policy_data of this kernel differs from what the module was written for\n");
		return -EOPNOTSUPP;
	}
	if (!policy_matches(data_id)) {
		pr_err("struct blkcg_policy of this kernel differs from what the module was written for\n");
		return -EOPNOTSUPP;
	}
	if (!find_cpd(data_id)) {
		pr_err("struct blkcg of this kernel differs from what the module was written for\n");
		return -EOPNOTSUPP;
	}
	return 0;
}
