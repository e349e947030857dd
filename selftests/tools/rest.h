/* SPDX-License-Identifier: GPL-2.0-only */
/* rest.h - burning until the next interrupt at no cost of the real-time host's machine (resting.cpp); elsewhere it is a PAUSE. */
#ifndef SPARE_REST_H
#define SPARE_REST_H

#define SPARE_REST_WORD 0x7473657265726170 /* "parerest", in RAX at the PAUSE */

static inline void rest(void)
{
	__asm__ volatile("pause" ::"a"(SPARE_REST_WORD) : "memory");
}

#endif /* SPARE_REST_H */
