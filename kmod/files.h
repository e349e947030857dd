/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The spare.* files of a cgroup; their text is documented in README.md.
 */
#ifndef KMOD_FILES_H
#define KMOD_FILES_H

#include <linux/cgroup.h>

extern struct cftype spare_files[];

#endif /* KMOD_FILES_H */
