/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Included before every file (Kbuild): the name at the beginning of our log lines.
 */
#ifndef KMOD_LOG_H
#define KMOD_LOG_H

#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#endif /* KMOD_LOG_H */
