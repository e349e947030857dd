// SPDX-License-Identifier: GPL-2.0
/*
 * The spare.* files. A write is refused whole or applied whole; the checks that do not depend on the file are
 * in write_begin().
 */
#include <linux/capability.h>
#include <linux/delay.h>
#include <linux/cred.h>
#include <linux/fs.h>
#include <linux/kernfs.h>
#include <linux/rtnetlink.h>
#include <linux/sched/signal.h>
#include <linux/seq_file.h>
#include <linux/string.h>
#include <linux/user_namespace.h>
#include "admission.h"
#include "config.h"
#include "files.h"
#include "guard.h"
#include "hook.h"
#include "node.h"
#include "server.h"
#include "stat.h"
#include "stock.h"
#include "tap.h"
#include "use.h"
#include "use_text.h"
#include "vm.h"

/*
 * Both who opened the file and who writes need CAP_SYS_NICE on the host: a delegated subtree must not hand
 * itself CPU, nor have a confused privileged writer do it. A NUL in the text is malformed; one newline at its
 * end is not part of it.
 */
static int write_begin(struct kernfs_open_file *of, char *buf, size_t *len)
{
	if (!file_ns_capable(of->file, &init_user_ns, CAP_SYS_NICE) || !capable(CAP_SYS_NICE))
		return -EPERM;
	if (strnlen(buf, *len) != *len)
		return -EINVAL;
	if (*len && buf[*len - 1] == '\n')
		buf[--*len] = '\0';
	return strchr(buf, '\n') ? -EINVAL : 0;
}

/* A reservation is useless where threads cannot be told apart by the cpu controller. */
static bool has_cpu_controller(struct spare_vm_kern *vm)
{
	struct cgroup_subsys_state *css;

	/* (One that has been switched off is there until its references have gone.) */
	guard(rcu)();
	css = rcu_dereference(vm->css->cgroup->subsys[cpu_cgrp_id]);
	return css && !css_is_dying(css);
}

/* The VM of an open file, under spare_config; NULL: no memory. */
static struct spare_vm_kern *file_vm(struct kernfs_open_file *of)
{
	return spare_config_vm(spare_css_node(of_css(of)));
}

/* The same for reading, without a lock: NULL when nothing has been written. */
static struct spare_vm_kern *seq_vm(struct seq_file *m)
{
	return spare_node_vm(spare_css_node(seq_css(m)));
}

/* What a file shows of its VM's configuration. */
static struct spare_vm_config seq_config(struct seq_file *m)
{
	struct spare_vm_kern *vm = seq_vm(m);

	if (!vm)
		return (struct spare_vm_config) { };
	guard(spinlock)(&vm->lock);
	return vm->cfg;
}

/* What ran out is said (CBS-12), where somebody asked for it. */
static int no_memory(struct kernfs_open_file *of, const char *what)
{
	char path[160];

	if (kernfs_path_from_node(of->kn, NULL, path, sizeof(path)) < 0)
		path[0] = '\0';
	pr_info_ratelimited("%s: no memory for %s\n", path, what);
	return -ENOMEM;
}

typedef int (*config_change)(struct spare_vm_kern *vm, struct spare_vm_config *cfg, const void *to);

static int try_configure(struct kernfs_open_file *of, config_change change, const void *to)
{
	struct spare_vm_config cfg;
	struct spare_vm_kern *vm;
	int err;

	guard(mutex)(&spare_config);
	vm = file_vm(of);
	if (!vm)
		return -ENOMEM;
	cfg = vm->cfg;
	err = change(vm, &cfg, to) ?: spare_config_set(vm, &cfg);
	if (err == -EAGAIN || err == -ENOBUFS)
		spare_config_sweep();
	return err;
}

/*
 * Have @change put @to into the configuration of the file's VM. What comes free, or is made, only after our locks are dropped is waited
 * for, once.
 */
static int configure(struct kernfs_open_file *of, config_change change, const void *to)
{
	int err = try_configure(of, change, to);

	if (err == -EAGAIN || err == -ENOBUFS) {
		spare_server_settle();
		if (err == -ENOBUFS)
			spare_stock_make();
		err = try_configure(of, change, to);
	}
	if (err == -EAGAIN) {
		pr_info("a CPU has no slot left: %u servers are the most\n", SPARE_SLOTS);
		return -EBUSY;
	}
	if (err == -ENOBUFS) {
		pr_info("the class could not make a queue for another server\n");
		return -ENOMEM;
	}
	if (err == -ENOMEM)
		return no_memory(of, "servers");
	return err;
}

static int change_reservation(struct spare_vm_kern *vm, struct spare_vm_config *cfg, const void *to)
{
	cfg->res = *(const struct spare_reservation *)to;
	return cfg->res.period_us && !has_cpu_controller(vm) ? -EOPNOTSUPP : 0;
}

static ssize_t reservation_write(struct kernfs_open_file *of, char *buf, size_t nbytes, loff_t off)
{
	struct spare_reservation res;
	size_t len = nbytes;
	int err;

	err = write_begin(of, buf, &len);
	if (!err)
		err = spare_parse_reservation(buf, len, &res);
	return err ?: configure(of, change_reservation, &res) ?: nbytes;
}

static int reservation_show(struct seq_file *m, void *v)
{
	struct spare_vm_config cfg = seq_config(m);

	if (cfg.res.period_us)
		seq_printf(m, "%u %u\n", cfg.res.runtime_us, cfg.res.period_us);
	else
		seq_puts(m, "max\n");
	return 0;
}

struct cpus_wanted {
	unsigned long cpus[BITS_TO_LONGS(SPARE_CPUS_MAX)];
	bool by_program;
};

static int change_cpus(struct spare_vm_kern *vm, struct spare_vm_config *cfg, const void *to)
{
	const struct cpus_wanted *want = to;

	if (!bitmap_empty(want->cpus, nr_cpu_ids) && !has_cpu_controller(vm))
		return -EOPNOTSUPP;
	if (want->by_program && !cfg->cpus_auto && !bitmap_empty(cfg->cpus, nr_cpu_ids))
		return -EEXIST;
	cfg->cpus_auto = want->by_program;
	bitmap_copy(cfg->cpus, want->cpus, nr_cpu_ids);
	return 0;
}

static ssize_t cpus_write(struct kernfs_open_file *of, char *buf, size_t nbytes, loff_t off)
{
	struct cpus_wanted want = { };
	size_t len = nbytes, prefix;
	int err;

	err = write_begin(of, buf, &len);
	if (err)
		return err;
	buf = strim(buf);
	prefix = str_has_prefix(buf, "auto ");
	err = bitmap_parselist(buf + prefix, want.cpus, nr_cpu_ids);
	if (err)
		return err == -EOVERFLOW ? -ERANGE : err;
	if (prefix && bitmap_empty(want.cpus, nr_cpu_ids))
		return -EINVAL;
	if (!bitmap_subset(want.cpus, cpumask_bits(cpu_online_mask), nr_cpu_ids))
		return -ERANGE;
	want.by_program = prefix;
	return configure(of, change_cpus, &want) ?: nbytes;
}

static int cpus_show(struct seq_file *m, void *v)
{
	struct spare_vm_config cfg = seq_config(m);

	seq_printf(m, "%*pbl\n", (int)nr_cpu_ids, cfg.cpus);
	return 0;
}

static int change_provide(struct spare_vm_kern *vm, struct spare_vm_config *cfg, const void *to)
{
	cfg->provide = *(const int *)to;
	return 0;
}

static ssize_t provide_write(struct kernfs_open_file *of, char *buf, size_t nbytes, loff_t off)
{
	size_t len = nbytes;
	int err, provide;

	err = write_begin(of, buf, &len);
	if (!err)
		err = spare_parse_flag(buf, len, &provide);
	return err ?: configure(of, change_provide, &provide) ?: nbytes;
}

static int provide_show(struct seq_file *m, void *v)
{
	seq_printf(m, "%d\n", seq_config(m).provide);
	return 0;
}

static ssize_t use_write(struct kernfs_open_file *of, char *buf, size_t nbytes, loff_t off)
{
	size_t len = nbytes;
	enum spare_use_who who;
	LIST_HEAD(uses);
	struct spare_vm_kern *vm;
	int err;

	err = write_begin(of, buf, &len);
	if (err)
		return err;
	err = spare_use_text_parse(strim(buf), &who, &uses);
	if (!err) {
		guard(mutex)(&spare_config);
		vm = file_vm(of);
		if (vm)
			spare_config_sweep_for(vm);
		err = vm ? spare_use_set(vm, &uses, who) : -ENOMEM;
	}
	spare_use_free(&uses);
	if (err == -ENOMEM)
		no_memory(of, "the list");
	return err ?: nbytes;
}

static int use_show(struct seq_file *m, void *v)
{
	return spare_use_text_show(seq_vm(m), m);
}

static ssize_t netdev_write(struct kernfs_open_file *of, char *buf, size_t nbytes, loff_t off)
{
	size_t len = nbytes;
	struct spare_vm_kern *vm;
	int err;

	err = write_begin(of, buf, &len);
	if (err)
		return err;
	scoped_guard(mutex, &spare_config) {
		spare_config_sweep();	/* what dying cgroups have comes free */
		vm = file_vm(of);
	}
	if (!vm)
		return no_memory(of, "a tap");
	if (strcmp(strim(buf), "none"))
		spare_hook_arm();
	/* Who has RTNL may wait for who waits for this operation to end (vm.h). */
	if (!rtnl_trylock()) {
		usleep_range(500, 1000);
		return restart_syscall();
	}
	err = spare_tap_set(vm, buf);
	rtnl_unlock();
	if (err == -ENOMEM)
		no_memory(of, "a tap");
	return err ?: nbytes;
}

static int netdev_show(struct seq_file *m, void *v)
{
	spare_tap_show(seq_vm(m), m);
	return 0;
}

static ssize_t policy_write(struct kernfs_open_file *of, char *buf, size_t nbytes, loff_t off)
{
	struct spare_policy pol;
	size_t len = nbytes;
	struct spare_vm_kern *vm;
	int err;

	err = write_begin(of, buf, &len);
	if (err)
		return err;
	guard(mutex)(&spare_config);
	vm = file_vm(of);
	if (!vm)
		return no_memory(of, "the policy");
	pol = spare_vm_policy(vm);
	err = spare_parse_policy(buf, len, &pol);
	if (err)
		return err;
	spare_vm_set_policy(vm, &pol);
	return nbytes;
}

static int policy_show(struct seq_file *m, void *v)
{
	struct spare_policy pol = SPARE_POLICY_DEFAULT;
	struct spare_vm_kern *vm = seq_vm(m);

	if (vm)
		pol = spare_vm_policy(vm);
	seq_printf(m, "grant_us=%u chances=%u window_us=%u gain_us=%u payback=%u wait=%u hasten=%u charge=%s interval_us=%u\n",
		   pol.grant_us, pol.chances, pol.window_us, pol.gain_us, pol.payback, pol.wait, pol.hasten,
		   pol.charge == SPARE_CHARGE_DEBT ? "debt" : "none", pol.interval_us);
	return 0;
}

static ssize_t net_max_write(struct kernfs_open_file *of, char *buf, size_t nbytes, loff_t off)
{
	struct spare_reservation max;
	struct spare_vm_kern *vm;
	size_t len = nbytes;
	int err;

	err = write_begin(of, buf, &len);
	if (!err)
		err = spare_parse_net_max(buf, len, &max);
	if (err)
		return err;
	guard(mutex)(&spare_config);
	vm = file_vm(of);
	if (!vm)
		return no_memory(of, "the limit");
	spare_guard_set(vm, &max);
	return nbytes;
}

static int net_max_show(struct seq_file *m, void *v)
{
	spare_guard_show(seq_vm(m), m);
	return 0;
}

static int stat_show(struct seq_file *m, void *v)
{
	spare_stat_show(seq_vm(m), m);
	return 0;
}

static int events_show(struct seq_file *m, void *v)
{
	spare_stat_show_events(seq_vm(m), m);
	return 0;
}

static int host_show(struct seq_file *m, void *v)
{
	spare_admission_show(m);
	return 0;
}

#define FILE_FLAGS (CFTYPE_NOT_ON_ROOT | CFTYPE_NO_PREFIX)

struct cftype spare_files[] = {
	{
		.name = "spare.reservation",
		.flags = FILE_FLAGS,
		.seq_show = reservation_show,
		.write = reservation_write,
	},
	{
		.name = "spare.cpus",
		.flags = FILE_FLAGS,
		.seq_show = cpus_show,
		.write = cpus_write,
	},
	{
		.name = "spare.provide",
		.flags = FILE_FLAGS,
		.seq_show = provide_show,
		.write = provide_write,
	},
	{
		.name = "spare.use",
		.flags = FILE_FLAGS,
		.seq_show = use_show,
		.write = use_write,
	},
	{
		.name = "spare.netdev",
		.flags = FILE_FLAGS,
		.seq_show = netdev_show,
		.write = netdev_write,
	},
	{
		.name = "spare.policy",
		.flags = FILE_FLAGS,
		.seq_show = policy_show,
		.write = policy_write,
	},
	{
		.name = "spare.net.max",
		.flags = FILE_FLAGS,
		.seq_show = net_max_show,
		.write = net_max_write,
	},
	{
		.name = "spare.stat",
		.flags = FILE_FLAGS,
		.seq_show = stat_show,
	},
	{
		.name = "spare.events",
		.flags = FILE_FLAGS,
		.seq_show = events_show,
	},
	{
		.name = "spare.host",
		.flags = CFTYPE_ONLY_ON_ROOT | CFTYPE_NO_PREFIX,
		.seq_show = host_show,
	},
	{ }
};
