/* SPDX-License-Identifier: GPL-2.0-only */
/* What a burner that rests has in RAX at its PAUSE (resting.cpp). */
#ifndef SPARE_REST_WORD_H
#define SPARE_REST_WORD_H

#define SPARE_REST_WORD 0x7473657265726170 /* "parerest" */

#endif /* SPARE_REST_WORD_H */
