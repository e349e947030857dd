// SPDX-License-Identifier: GPL-2.0
/*
 * sched_spare.ko - what the class in sched_spare/bpf needs of the kernel and BPF cannot give.
 *
 *   node        a cgroup; which VM a task belongs to
 *   vm          a cgroup with configuration, and the locks; files and stat are its texts, event its notifications
 *   config      what a write changes, and a VM's end
 *   server      one per VM and CPU, in the tables where the class finds them
 *   admission   how much fits on a CPU
 *   use         who borrows from whom
 *   tap         which devices are whose; hook notices the packets that arrive on them
 *   realtime    charges real-time threads, which no budget holds back; what they and softirqs take of each CPU
 *   timer       ends a budget; kick sends a CPU through the scheduler
 *   kfuncs      what the class may call
 *   trace       the tracepoints
 */
#include <linux/cpumask.h>
#include <linux/module.h>
#include <linux/stringify.h>
#include <sched_spare/abi.h>
#include "config.h"
#include "event.h"
#include "files.h"
#include "guard.h"
#include "hook.h"
#include "kfuncs.h"
#include "kick.h"
#include "node.h"
#include "realtime.h"
#include "server.h"
#include "stock.h"
#include "tap.h"
#include "timer.h"
#include "vm.h"

static unsigned int abi = SPARE_ABI;
module_param(abi, uint, 0444);
MODULE_PARM_DESC(abi, "number that module, class and daemon must agree on (read-only)");

static int __init spare_init(void)
{
	int err;

	abi = SPARE_ABI;
	if (nr_cpu_ids > SPARE_CPUS_MAX) {
		pr_err("%u CPUs are more than the %u that the class can serve\n", nr_cpu_ids, SPARE_CPUS_MAX);
		return -E2BIG;
	}
	spare_lock_order();
	err = spare_server_init();
	if (err)
		return err;
	err = spare_kick_init();
	if (err)
		goto err_server;
	err = spare_timer_init();
	if (err)
		goto err_kick;
	err = spare_hook_init();
	if (err)
		goto err_timer;
	err = spare_tap_init();
	if (err)
		goto err_hook;
	err = spare_node_init(spare_files, spare_config_remove);
	if (err)
		goto err_tap;
	err = spare_realtime_init();
	if (err)
		goto err_node;
	err = spare_guard_init() ?: spare_kfuncs_init();
	if (err)
		goto err_realtime;
	return 0;

err_realtime:
	spare_realtime_exit();
err_node:
	spare_config_stop();
	spare_node_exit();
err_tap:
	spare_config_stop();	/* files were there for a moment */
	spare_tap_exit();
err_hook:
	spare_hook_exit();
err_timer:
	spare_timer_exit();
err_kick:
	spare_kick_exit();
err_server:
	spare_event_exit();
	spare_stock_exit();
	spare_server_exit();
	return err;
}

/* No program that calls us is loaded: the kfuncs hold a reference on the module (LIFE-3). */
static void __exit spare_exit(void)
{
	spare_realtime_exit();
	spare_config_stop();
	spare_node_exit();
	spare_tap_exit();
	spare_hook_exit();
	spare_timer_exit();
	spare_kick_exit();
	spare_event_exit();
	spare_stock_exit();
	spare_server_exit();
}

module_init(spare_init);
module_exit(spare_exit);

MODULE_LICENSE("GPL");
MODULE_AUTHOR("sched_spare authors");
MODULE_DESCRIPTION("CPU reservations and spare bandwidth for virtual machines");
MODULE_VERSION("0.1.0");
MODULE_INFO(spare_abi, __stringify(SPARE_ABI));
