// SPDX-License-Identifier: GPL-2.0
/*
 * The text of spare.use: the cgroups that it names, and the names of cgroups. To find either takes locks of the kernel's that are not to be
 * taken under ours (vm.h), so nothing here is under spare_config.
 */
#include <linux/cgroup.h>
#include <linux/kernfs.h>
#include <linux/nsproxy.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include "use.h"
#include "use_text.h"
#include "vm.h"

/* The cgroup at @path in the writer's cgroup namespace, as an entry of a list. */
static struct spare_use *use_of_path(const char *path)
{
	struct cgroup_subsys_state *css;
	struct cgroup *cgrp;
	struct spare_use *u;

	if (path[0] != '/')
		return ERR_PTR(-EINVAL);
	cgrp = cgroup_get_from_path(path);
	if (IS_ERR(cgrp))
		return ERR_CAST(cgrp);
	css = cgroup_get_e_css(cgrp, &io_cgrp_subsys);
	if (css->cgroup != cgrp) {
		css_put(css);
		cgroup_put(cgrp);
		return ERR_PTR(-EOPNOTSUPP);
	}
	cgroup_put(cgrp);
	u = kzalloc(sizeof(*u), GFP_KERNEL);
	if (!u) {
		css_put(css);
		return ERR_PTR(-ENOMEM);
	}
	u->css = css;
	return u;
}

static int parse_names(char *text, struct list_head *uses)
{
	struct spare_use *u, *pos;
	char *word;

	while ((word = strsep(&text, " \t"))) {
		if (!*word)
			continue;
		u = use_of_path(word);
		if (IS_ERR(u))
			return PTR_ERR(u);
		list_for_each_entry(pos, uses, list) {
			if (pos->css != u->css)
				continue;
			css_put(u->css);
			kfree(u);
			return -EINVAL;
		}
		list_add_tail(&u->list, uses);
	}
	return list_empty(uses) ? -EINVAL : 0;
}

/**
 * spare_use_text_parse - find the cgroups that a write to spare.use names
 * @text: one line without its newline; is changed
 * @who: out: who asks
 * @uses: out: struct spare_use, to be freed by spare_use_free(), also after an error
 *
 * Context: process; takes locks of kernfs and of cgroups, so none of ours is held.
 * Return: 0, -EINVAL, -ENOENT, -ENOTDIR, -EOPNOTSUPP (one without the io controller), -ENOMEM.
 */
int spare_use_text_parse(char *text, enum spare_use_who *who, struct list_head *uses)
{
	size_t prefix = str_has_prefix(text, "auto ");

	text = strim(text + prefix);
	*who = prefix ? SPARE_USE_PROGRAM : SPARE_USE_OPERATOR;
	if (!prefix && !strcmp(text, "default")) {
		*who = SPARE_USE_HANDED_BACK;
		return 0;
	}
	return strcmp(text, "none") ? parse_names(text, uses) : 0;
}

/* References to the @n cgroups on @vm's list. Returns -ENOMEM: none. */
static int get_all(struct spare_vm_kern *vm, struct cgroup_subsys_state ***all, unsigned int *n)
{
	struct cgroup_subsys_state **css = NULL;
	unsigned int room = 0;
	struct spare_use *u;

	for (;;) {
		scoped_guard(spinlock, &vm->lock) {
			*n = 0;
			if (vm->nr_uses <= room) {
				list_for_each_entry(u, &vm->uses, list) {
					css_get(u->css);
					css[(*n)++] = u->css;
				}
				*all = css;
				return 0;
			}
			room = vm->nr_uses;
		}
		kfree(css);
		css = kmalloc_array(room, sizeof(*css), GFP_KERNEL);
		if (!css)
			return -ENOMEM;
	}
}

/**
 * spare_use_text_show - the text of spare.use
 * @vm: NULL: nobody has written to the cgroup's files
 * @m: where to
 *
 * That operation keeps its cgroup from being removed, by somebody who holds cgroup_mutex: so it must not wait for that, and cgroup_path_ns() does.
 * This is what that does with it.
 *
 * Context: process, in a file's operation, no lock.
 * Return: 0; -ENOMEM.
 */
int spare_use_text_show(struct spare_vm_kern *vm, struct seq_file *m)
{
	struct kernfs_node *root = current->nsproxy->cgroup_ns->root_cset->dfl_cgrp->kn;
	char *path = kmalloc(PATH_MAX, GFP_KERNEL);
	struct cgroup_subsys_state **css = NULL;
	const char *sep = "";
	unsigned int i, n = 0;
	int err = path ? 0 : -ENOMEM;

	if (!err && vm)
		err = get_all(vm, &css, &n);
	for (i = 0; i < n && !err; i++) {
		if (kernfs_path_from_node(css[i]->cgroup->kn, root, path, PATH_MAX) >= 0) {
			seq_printf(m, "%s%s", sep, path);
			sep = " ";
		}
		css_put(css[i]);
	}
	if (!err)
		seq_puts(m, *sep ? "\n" : "none\n");
	kfree(path);
	kfree(css);
	return err;
}
