// SPDX-License-Identifier: GPL-2.0
/*
 * A word that timers and servers both ask for. What else there is to do when a class comes or goes is in server.c.
 */
#include <linux/atomic.h>
#include "class.h"

static atomic_t attached = ATOMIC_INIT(0);

/**
 * spare_class_attached - is there a class?
 *
 * Context: any.
 * Return: true: from spare_server_attach() to spare_server_detach().
 */
bool spare_class_attached(void)
{
	return atomic_read(&attached);
}

/**
 * spare_class_begin - from now on there is
 *
 * Context: any.
 * Return: false: there was already.
 */
bool spare_class_begin(void)
{
	return !atomic_cmpxchg(&attached, 0, 1);
}

/**
 * spare_class_end - no more
 *
 * Context: any. A full barrier.
 * Return: false: there was none.
 */
bool spare_class_end(void)
{
	return atomic_xchg(&attached, 0);
}
